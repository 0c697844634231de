package drbdlab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"kvmctl/ha"
)

// witness is the arbiter's name.
const witness = "orthanc"

// StartWitness runs a kvmha on neither guest, which is the arbiter of the group. Call it before Prepare.
func (a *Agents) StartWitness(ctx context.Context) error {
	root, program := filepath.Join(a.keys, witness), filepath.Join(a.keys, "kvmha")
	if a.witnessPort == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
		if err != nil {
			return fmt.Errorf("run an arbiter: %w", err)
		}
		a.witnessPort = l.Addr().(*net.TCPAddr).Port
		l.Close()
		if err := a.createWitness(ctx, root, program); err != nil {
			return err
		}
	}
	a.witness = exec.Command(program, "--root", root, "run")
	if err := a.witness.Start(); err != nil {
		return fmt.Errorf("run an arbiter: %w", err)
	}
	for {
		if c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", a.witnessPort), time.Second); err == nil {
			c.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the arbiter: %w", context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (a *Agents) createWitness(ctx context.Context, root, program string) error {
	for _, name := range []string{a.A.Name, a.B.Name} {
		if err := a.knows(witness, name); err != nil {
			return err
		}
	}
	config := filepath.Join(root, ha.ConfigFile)
	text := fmt.Sprintf("node = %q\n[channel]\nlisten = [\"127.0.0.1:%d\"]\n", witness, a.witnessPort)
	for i, name := range []string{a.A.Name, a.B.Name} { // they come to it, it never calls
		text += fmt.Sprintf("[peer.%s]\naddresses = [\"127.0.0.1:%d\"]\n", name, 8+i)
	}
	text += fmt.Sprintf("[arbiter.group.varda]\nmembers = [%q, %q]\n", a.A.Name, a.B.Name)
	if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
		return fmt.Errorf("make an arbiter: %w", err)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("make an arbiter: %w", err)
	}
	if out, err := exec.CommandContext(ctx, program, "--root", root, "arbiter", "create", "varda").CombinedOutput(); err != nil {
		return fmt.Errorf("make an arbiter: %w: %s", err, out)
	}
	return nil
}

// StopWitness ends it as a power cut does; its record stays.
func (a *Agents) StopWitness() {
	if a.witness != nil {
		_ = a.witness.Process.Kill()
		_ = a.witness.Wait() // killed
		a.witness = nil
	}
}

// witnessLines are those of a member's file.
func (a *Agents) witnessLines() string {
	if a.witnessPort == 0 {
		return ""
	}
	return fmt.Sprintf("[peer.%s]\naddresses = [\"%s:%d\"]\nrole = \"arbiter\"\n", witness, Outside, a.witnessPort)
}
