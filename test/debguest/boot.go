package debguest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm/qmp"
)

// Options say how a Debian guest is booted.
type Options struct {
	Disk   string   // raw image of its root file system, written to
	Memory int      // MiB; 0: 1024
	CPUs   int      // 0: 2
	Append string   // words for the kernel's command line
	Args   []string // for QEMU: network cards, more disks
}

// Guest is a Debian that runs. Close it.
type Guest struct {
	ConsoleLog string // path of what its serial console said
	dir        string
	cmd        *exec.Cmd
	ended      chan struct{}
	agent      *qmp.Agent
}

// Argv is QEMU's command line for a Debian guest, whose sockets and console log are in dir. There is no network card: none by
// default can be reached, or reach anything.
func (b *Base) Argv(dir string, o Options) []string {
	memory, cpus := o.Memory, o.CPUs
	if memory == 0 {
		memory = 1024
	}
	if cpus == 0 {
		cpus = 2
	}
	// A CPU without AVX, whose emulation is new in QEMU 7.2, and without SVM: with "max" a boot was seen to die in the dynamic linker. A
	// kernel that panics ends QEMU at once (panic=-1 and -no-reboot).
	argv := []string{"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35,accel=tcg", "-cpu", "Nehalem", "-display", "none",
		"-m", strconv.Itoa(memory), "-smp", strconv.Itoa(cpus), "-kernel", b.Kernel, "-initrd", b.Initrd,
		"-append", strings.TrimSpace("root=/dev/vda rw console=ttyS0 no_timer_check net.ifnames=0 panic=-1 " + o.Append),
		"-drive", "file=" + strings.ReplaceAll(o.Disk, ",", ",,") + ",format=raw,if=virtio,cache=unsafe",
		"-chardev", "file,id=con,path=" + filepath.Join(dir, "console"), "-serial", "chardev:con",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=qga,server=on,wait=off,path=" + filepath.Join(dir, "agent"),
		"-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0", "-device", "virtio-rng-pci", "-no-reboot"}
	return append(argv, o.Args...)
}

// Boot starts a guest and returns when its agent answers, which takes from 20 seconds to a minute under tcg. ctx bounds the boot, not
// the guest's life.
func (b *Base) Boot(ctx context.Context, o Options) (*Guest, error) {
	dir, err := os.MkdirTemp("", "deb") // short: it holds sockets
	if err != nil {
		return nil, fmt.Errorf("boot a Debian guest: %w", err)
	}
	argv := b.Argv(dir, o)
	g := &Guest{dir: dir, ConsoleLog: filepath.Join(dir, "console"), ended: make(chan struct{})}
	g.cmd = exec.Command(argv[0], argv[1:]...)
	// ^C on the test's terminal is not for it: Close ends it, or the kernel, should the test be killed.
	g.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	var said strings.Builder
	g.cmd.Stderr = &said
	running := make(chan error)
	go func() { // owner: Close, which waits for ended
		defer close(g.ended)
		runtime.LockOSThread() // Pdeathsig is about the thread that started it: this one stays
		defer runtime.UnlockOSThread()
		err := g.cmd.Start()
		running <- err
		if err == nil {
			_ = g.cmd.Wait()
		}
	}()
	if err := <-running; err != nil {
		return nil, errors.Join(fmt.Errorf("boot a Debian guest: %w", err), os.RemoveAll(dir))
	}
	if err := g.waitForAgent(ctx); err != nil {
		err = fmt.Errorf("boot a Debian guest: %w; its console ends with:\n%s", err, g.tail(15))
		g.Close()
		return nil, errors.Join(err, errors.New(strings.TrimSpace(said.String())))
	}
	return g, nil
}

func (g *Guest) waitForAgent(ctx context.Context) (err error) {
	for {
		if g.agent == nil {
			g.agent, err = qmp.DialAgent(ctx, filepath.Join(g.dir, "agent"))
		}
		if g.agent != nil {
			if err = g.agent.Ping(ctx); err == nil {
				return nil
			}
			g.agent.Close()
			g.agent = nil
		}
		select {
		case <-g.ended:
			return errors.New("QEMU ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// ExitError is a command that did not exit 0.
type ExitError struct {
	Code     int // -1: a signal ended it
	Out, Err string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("exit %d: %s%s", e.Code, e.Out, e.Err)
}

// pollEvery is how often the agent is asked whether a command has ended: it has no other way to tell.
const pollEvery = 200 * time.Millisecond

// Run runs a script by /bin/sh in the guest, as root, in the agent's service. It gives stdout; another exit code than 0 is an *ExitError.
func (g *Guest) Run(ctx context.Context, script string) (string, error) {
	var started struct{ PID int }
	args := map[string]any{"path": "/bin/sh", "arg": []string{"-c", script}, "capture-output": true,
		"env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}}
	if err := g.agent.Execute(ctx, "guest-exec", args, &started); err != nil {
		return "", err
	}
	for {
		var st struct {
			Exited   bool
			Exitcode *int
			Out      string `json:"out-data"`
			Err      string `json:"err-data"`
		}
		if err := g.agent.Execute(ctx, "guest-exec-status", map[string]any{"pid": started.PID}, &st); err != nil {
			return "", err
		}
		if st.Exited {
			out, err := base64.StdEncoding.DecodeString(st.Out)
			if err != nil {
				return "", fmt.Errorf("decode the output: %w", err)
			}
			said, err := base64.StdEncoding.DecodeString(st.Err)
			if err != nil {
				return "", fmt.Errorf("decode the output: %w", err)
			}
			switch {
			case st.Exitcode == nil:
				return string(out), &ExitError{-1, string(out), string(said)}
			case *st.Exitcode != 0:
				return string(out), &ExitError{*st.Exitcode, string(out), string(said)}
			}
			return string(out), nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return "", fmt.Errorf("wait for a command in the guest: %w", ctx.Err())
		case <-g.ended:
			return "", errors.New("wait for a command in the guest: QEMU ended")
		}
	}
}

// PowerOff asks the guest's systemd to power off and returns when QEMU has ended.
func (g *Guest) PowerOff(ctx context.Context) error {
	if err := g.agent.Shutdown(ctx, qmp.Powerdown); err != nil {
		return fmt.Errorf("power off the Debian guest: %w", err)
	}
	return g.Wait(ctx)
}

// Wait returns when QEMU has ended.
func (g *Guest) Wait(ctx context.Context) error {
	select {
	case <-g.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of the Debian guest: %w; its console ends with:\n%s", ctx.Err(), g.tail(15))
	}
}

// Kill is a power cut.
func (g *Guest) Kill() {
	_ = g.cmd.Process.Kill() // an error means that it has ended
	<-g.ended
}

// Console gives what the serial console said so far.
func (g *Guest) Console() (string, error) {
	b, err := os.ReadFile(g.ConsoleLog)
	return string(b), err
}

func (g *Guest) tail(n int) string {
	text, err := g.Console()
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Close ends the guest, however it is, and removes its console log and sockets. The disk stays.
func (g *Guest) Close() {
	if g.agent != nil {
		g.agent.Close()
	}
	g.Kill()
	_ = os.RemoveAll(g.dir) // in the directory for temporary files
}
