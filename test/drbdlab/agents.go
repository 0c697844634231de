package drbdlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/peer"
	"kvmctl/internal/runner"
)

// Safe is a drbd.conf as lint wants it: writes freeze until the agent has answered for the peer.
var Safe = Config{
	Disk:     "fencing resource-and-stonith; c-plan-ahead 0; resync-rate 30M;",
	Handlers: `fence-peer "/bin/kvmha fence-peer"; before-resync-target "/bin/kvmha before-resync"; after-resync-target "/bin/kvmha unfence"; split-brain "/bin/kvmha split-brain";`,
	Net:      "after-sb-0pri discard-zero-changes; after-sb-1pri disconnect; after-sb-2pri disconnect;",
}

// Agents is a lab whose guests run kvmha.
type Agents struct {
	*Lab
	Alone string // of the group varda
	Fence string // lines of the file: a [fence.<name>], used where Alone or UseFence wants it
	Lines string // more lines of the group
	keys  string

	witness     *exec.Cmd
	witnessPort int
}

// Binary builds kvmha for the guests.
func Binary(ctx context.Context, dir string) ([]byte, error) {
	out := filepath.Join(dir, "kvmha")
	build := exec.CommandContext(ctx, "go", "build", "-o", out, "kvmctl/cmd/kvmha")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build kvmha: %w: %s", err, text)
	}
	return os.ReadFile(out)
}

// NewAgents boots a lab with kvmha in it; nothing replicates and no agent runs yet.
func NewAgents(ctx context.Context, alone string) (*Agents, error) {
	dir, err := os.MkdirTemp("", "drbdkeys")
	if err != nil {
		return nil, fmt.Errorf("make a lab: %w", err)
	}
	program, err := Binary(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	l, err := New(ctx, map[string][]byte{"/bin/kvmha": program})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Agents{Lab: l, Alone: alone, keys: dir}, nil
}

// AgentsIn is a lab that has the kvmha in the file program among its own already.
func AgentsIn(l *Lab, program, alone string) (*Agents, error) {
	dir, err := os.MkdirTemp("", "drbdkeys")
	if err != nil {
		return nil, fmt.Errorf("make keys for a lab: %w", err)
	}
	if err := os.Symlink(program, filepath.Join(dir, "kvmha")); err != nil { // a witness is run of it
		return nil, fmt.Errorf("make keys for a lab: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	return &Agents{Lab: l, Alone: alone, keys: dir}, nil
}

// Close ends the lab.
func (a *Agents) Close() {
	a.Lab.Close()
	a.StopWitness()
	os.RemoveAll(a.keys)
}

// file is a guest's kvmha.toml.
func (a *Agents) file(own, other *Guest, skew int, at string) string {
	return fmt.Sprintf(`node = %q
[peer.%s]
addresses = [%q, %q]
%s
[group.varda]
interface = "eth0"
vhid = 201
addresses = ["10.90.0.100"]
password = "friend"
skew = %d
probe = false
alone = %q
%s
[[group.varda.drbd]]
resource = "r0"
[[group.varda.mount]]
device = "/dev/drbd0"
directory = "/srv"
`, own.Name, other.Name, at, strings.Replace(at, "90", "91", 1), a.witnessLines()+a.Fence, skew, a.Alone, a.Lines)
}

// Prepare gives both guests their files and keys; after a boot, too. What an agent keeps is on a disk of its own.
func (a *Agents) Prepare(ctx context.Context, guests ...*Guest) error {
	for _, g := range guests {
		other, skew, at := a.B, 0, "10.90.0.2"
		if g == a.B {
			other, skew, at = a.A, 100, "10.90.0.1"
		}
		if _, err := g.Sh(ctx, `mkdir -p /var/lib/kvmha /srv; grep -q /var/lib/kvmha /proc/mounts || {
			e2fsck -p /dev/vdb >/dev/null 2>&1 || mkfs.ext4 -q /dev/vdb; mount -t ext4 /dev/vdb /var/lib/kvmha; }`); err != nil {
			return err
		}
		if err := g.Put(ctx, "/etc/kvmha.toml", []byte(a.file(g, other, skew, at)), 0o600); err != nil {
			return err
		}
		if err := a.key(ctx, g, other); err != nil {
			return err
		}
	}
	return nil
}

// key puts a guest's own key and the other one's where kvmha pair would.
func (a *Agents) key(ctx context.Context, g, other *Guest) error {
	others := []string{other.Name}
	if a.witness != nil {
		others = append(others, witness)
	}
	for _, name := range others {
		if err := a.knows(g.Name, name); err != nil {
			return err
		}
	}
	dir := a.keysOf(g.Name)
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return fmt.Errorf("read a key: %w", err)
		}
		if err := g.Put(ctx, filepath.Join(ha.StateDir, peer.Dir, f.Name()), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// keysOf is where the keys of a node are made.
func (a *Agents) keysOf(node string) string {
	if node == witness {
		return filepath.Join(a.keys, witness, ha.StateDir, peer.Dir)
	}
	return filepath.Join(a.keys, node)
}

// knows has a node know the key of another one.
func (a *Agents) knows(node, other string) error {
	for _, of := range []string{node, other} {
		if _, err := peer.CreateIdentity(a.keysOf(of)); err != nil {
			return err
		}
	}
	id, err := peer.LoadIdentity(a.keysOf(other))
	if err != nil {
		return err
	}
	return peer.SavePin(a.keysOf(node), other, peer.Pin{Key: id.Public()})
}

// Start runs the agent in a guest; its log is /var/log/kvmha.log.
func (a *Agents) Start(ctx context.Context, g *Guest) error {
	_, err := g.Sh(ctx, "mkdir -p /var/log /run/kvmha; setsid /bin/kvmha run </dev/null >>/var/log/kvmha.log 2>&1 & echo $! >/run/kvmha.pid")
	if err != nil {
		return err
	}
	return g.Until(ctx, "kvmha status --json >/dev/null 2>&1 || [ $? = 1 ] && [ -S /run/kvmha/kvmha.sock ]")
}

// Status asks a guest's agent.
func (a *Agents) Status(ctx context.Context, g *Guest) (s ha.Status, err error) {
	r, err := g.Run(ctx, runner.Command{Argv: []string{"kvmha", "status", "--json"}})
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(r.Stdout, &s); err != nil {
		return s, fmt.Errorf("%s: %w: %s", g.Name, err, r.Stderr)
	}
	return s, nil
}

// Role waits until a guest's group has a role.
func (a *Agents) Role(ctx context.Context, g *Guest, role string) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		s, err := a.Status(ctx, g)
		if err == nil && len(s.Groups) == 1 && s.Groups[0].Role == role {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not %s: %+v, %w", g.Name, role, s.Groups, errors.Join(err, context.Cause(ctx)))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Begin gives a guest all that an agent needs, and starts it.
func (a *Agents) Begin(ctx context.Context, g *Guest) error {
	if err := a.Prepare(ctx, g); err != nil {
		return err
	}
	if err := g.Put(ctx, "/bin/pdu", []byte(PDU), 0o755); err != nil {
		return err
	}
	return a.Start(ctx, g)
}

// Again boots a guest whose power was cut, as Begin left it.
func (a *Agents) Again(ctx context.Context, g *Guest) error {
	if err := g.Boot(ctx); err != nil {
		return err
	}
	if err := g.Put(ctx, "/etc/drbd.conf", []byte(Safe.Text()), 0o600); err != nil {
		return err
	}
	return a.Begin(ctx, g)
}
