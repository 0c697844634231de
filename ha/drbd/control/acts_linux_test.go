package control

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/internal/runner"
)

// node is a model of DRBD on one node behind a Runner: a resource r0 with a state, a peer's answer to fencing, and events for who follows.
type node struct {
	mu        sync.Mutex
	resource  *drbd.Resource // nil: down
	fence     []int          // what the next tries to become Primary are answered with; 0: yes
	hangs     bool           // drbdadm does, until it is killed
	immortal  bool           // and cannot be
	missing   error          // of drbd-utils
	broken    bool           // events2 --now fails: no module
	followers []chan string
	deaf      bool          // events are lost
	slow      time.Duration // until events2 --now answers
	ran       []string
	reached   int // the sector at which the last verification was broken off
	skipped   int // sectors that the next one leaves out
}

func good0() *drbd.Resource {
	return &drbd.Resource{Name: "r0", Role: drbd.Secondary, Volumes: []drbd.Volume{{Disk: drbd.UpToDate}}, Peers: []drbd.Peer{{Name: "peer", Connection: drbd.Connected,
		Role: drbd.Secondary, Volumes: []drbd.PeerVolume{{Replication: drbd.Established, Disk: drbd.UpToDate}}}}}
}

// begun is how many commands there were.
func (n *node) begun() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.ran)
}

// telling is the resource as events2 has it.
func (n *node) telling() (lines []string) {
	if r := n.resource; r != nil {
		lines = append(lines, fmt.Sprintf("exists resource name:%s role:%s suspended:%s", r.Name, r.Role, r.Suspended))
		for _, p := range r.Peers {
			lines = append(lines, fmt.Sprintf("exists connection name:%s peer-node-id:%d conn-name:%s connection:%s role:%s", r.Name, p.NodeID, p.Name, p.Connection, p.Role))
		}
		for _, v := range r.Volumes {
			lines = append(lines, fmt.Sprintf("exists device name:%s volume:%d minor:%d disk:%s", r.Name, v.Number, v.Minor, v.Disk))
		}
		for _, p := range r.Peers {
			for _, v := range p.Volumes {
				lines = append(lines, fmt.Sprintf("exists peer-device name:%s peer-node-id:%d volume:%d replication:%s peer-disk:%s resync-suspended:no",
					r.Name, p.NodeID, v.Number, v.Replication, v.Disk))
			}
		}
	}
	return append(lines, "exists -")
}

func (n *node) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	n.mu.Lock()
	n.ran = append(n.ran, strings.Join(c.Argv, " "))
	missing, hangs, immortal, broken := n.missing, n.hangs && c.Argv[0] == "drbdadm", n.immortal, n.broken
	n.mu.Unlock()
	switch {
	case missing != nil:
		return runner.Result{}, missing
	case hangs && immortal:
		<-ctx.Done()
		time.Sleep(time.Hour) // in the kernel; on the bubble's clock
		return runner.Result{}, context.Cause(ctx)
	case hangs:
		<-ctx.Done()
		return runner.Result{}, fmt.Errorf("execute drbdadm: %w", context.Cause(ctx))
	case broken && c.Argv[0] == "drbdadm":
		return runner.Result{Exit: 10, Stderr: []byte("/etc/drbd.conf:5: Parse error: 'a disk option keyword' expected,\n\tbut got 'fencing'\n")}, nil
	case broken:
		return runner.Result{Exit: 20, Stderr: []byte("Failed to modprobe drbd (No such file or directory)\n")}, nil
	case slices.Equal(c.Argv, []string{"drbdsetup", "events2"}):
		return n.follow(ctx, c)
	case c.Argv[0] == "drbdsetup" && n.slow > 0:
		time.Sleep(n.slow)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.Argv[0] == "drbdsetup" {
		return runner.Result{Stdout: []byte(strings.Join(n.telling(), "\n") + "\n")}, nil
	}
	if c.Argv[1] == "verify" && !slices.Contains(c.Argv, "--setup-option=--start=0") {
		n.skipped = n.reached
	}
	return n.act(c.Argv[1]), nil
}

// act is drbdadm: it says yes to outdate where it does nothing, as the real one.
func (n *node) act(verb string) runner.Result {
	r := n.resource
	if r == nil && verb != "down" && verb != "adjust" {
		return runner.Result{Exit: 10, Stderr: []byte("0: Failure: (127) Device minor not allocated\n")}
	}
	switch verb {
	case "adjust":
		if r == nil {
			n.resource = good0()
		}
	case "down":
		n.resource = nil
	case "primary":
		answer := 0
		if len(n.fence) > 0 {
			answer, n.fence = n.fence[0], n.fence[1:]
		}
		if answer != 0 {
			return runner.Result{Exit: 11, Stderr: fmt.Appendf(nil, "0: State change failed: (%d) No\n", answer)}
		}
		r.Role = drbd.Primary
	case "secondary":
		r.Role = drbd.Secondary
	case "outdate":
		if !r.Connected() && r.Role == drbd.Secondary {
			r.Volumes[0].Disk = drbd.Outdated
		}
	case "connect":
		r.Peers = []drbd.Peer{{Name: "peer", Connection: drbd.Connecting, Role: drbd.UnknownRole}}
	case "disconnect":
		r.Peers = nil
	case "verify":
		r.Peers[0].Volumes[0].Replication = drbd.VerifyS
	case "resume-io":
		r.Suspended = 0
	}
	return runner.Result{}
}

func TestActs(t *testing.T) {
	alone := func(r *drbd.Resource) { r.Peers = nil }
	primary := func(r *drbd.Resource) { r.Role = drbd.Primary }
	act := func(f func(*Control, context.Context, string) error) func(*Control) error {
		return func(c *Control) error { return f(c, context.Background(), "r0") }
	}
	both := func(fs ...func(*drbd.Resource)) func(*drbd.Resource) {
		return func(r *drbd.Resource) {
			for _, f := range fs {
				f(r)
			}
		}
	}
	disk := func(d drbd.Disk) func(*drbd.Resource) { return func(r *drbd.Resource) { r.Volumes[0].Disk = d } }
	down := func(r *drbd.Resource) { *r = drbd.Resource{} }
	tests := []struct {
		name string
		from func(*drbd.Resource)
		node *node
		do   func(*Control) error
		want error  // nil: done
		told string // to drbdadm, in order
	}{
		{name: "primary", do: act((*Control).Primary), told: "primary"},
		{name: "primary, the fence's first answer", node: &node{fence: []int{-7}}, do: act((*Control).Primary), told: "primary primary"},
		{name: "primary, no fence", node: &node{fence: []int{-7, -7}}, do: act((*Control).Primary), want: PeerNotFenced, told: "primary primary"},
		{name: "primary, outdated", node: &node{fence: []int{-2}}, do: act((*Control).Primary), want: NotUpToDate, told: "primary"},
		{name: "secondary", from: primary, do: act((*Control).Secondary), told: "secondary"},
		{name: "outdate", from: alone, do: act((*Control).Outdate), told: "outdate"},
		{name: "outdate, outdated already", from: both(alone, disk(drbd.Outdated)), do: act((*Control).Outdate)},
		{name: "outdate, worse already", from: both(alone, disk(drbd.Inconsistent)), do: act((*Control).Outdate)},
		{name: "outdate, connected", do: act((*Control).Outdate), want: IsConnected},
		{name: "outdate, primary", from: both(alone, primary), do: act((*Control).Outdate), want: IsPrimary},
		{name: "outdate, down", from: down, do: act((*Control).Outdate), want: NotConfigured},
		{name: "connect", from: alone, do: act((*Control).Connect), told: "connect"},
		{name: "connect, connected", do: act((*Control).Connect)},
		{name: "discard", from: alone, do: act((*Control).ConnectDiscardMyData), told: "connect"},
		{name: "discard, connected", do: act((*Control).ConnectDiscardMyData), want: IsConnected},
		{name: "discard, primary", from: both(alone, primary), do: act((*Control).ConnectDiscardMyData), want: IsPrimary},
		{name: "disconnect", do: act((*Control).Disconnect), told: "disconnect"},
		{name: "disconnect, again", from: alone, do: act((*Control).Disconnect)},
		{name: "verify", do: act((*Control).Verify), told: "verify"},
		{name: "verify, alone", from: alone, do: act((*Control).Verify), want: NoPeer},
		{name: "verify, diskless", from: disk(drbd.Diskless), do: act((*Control).Verify), want: NotUpToDate},
		{name: "verify, the peer diskless", from: func(r *drbd.Resource) { r.Peers[0].Volumes[0].Disk = drbd.Diskless }, do: act((*Control).Verify), want: PeerNotUpToDate},
		{name: "verify, in a resync", from: func(r *drbd.Resource) { r.Peers[0].Volumes[0].Replication = drbd.SyncSource }, do: act((*Control).Verify), want: SyncRuns},
		{name: "resume", from: func(r *drbd.Resource) { r.Suspended = drbd.ByFencing }, do: act((*Control).ResumeIO), told: "resume-io"},
		{name: "resume, not suspended", do: act((*Control).ResumeIO)},
		{name: "down", do: act((*Control).Down), told: "down"},
		{name: "down, again", from: down, do: act((*Control).Down), told: "down"},
		{name: "up", from: down, do: act((*Control).Up), told: "adjust"},
		{name: "up, no disk", from: disk(drbd.Diskless), do: act((*Control).Up), want: NoDisk, told: "adjust"},
		{name: "an option for a name", do: func(c *Control) error { return c.Primary(context.Background(), "--force") }, want: Undefined},
		{name: "all for a name", do: func(c *Control) error { return c.Down(context.Background(), "all") }, want: Undefined},
		{name: "no programs", node: &node{missing: exec.ErrNotFound}, do: act((*Control).Primary), want: NoPrograms, told: "primary"},
		{name: "no module", node: &node{broken: true}, do: act((*Control).Disconnect), want: NoModule},
		{name: "no module, and drbdadm does not know", node: &node{broken: true}, do: act((*Control).Primary), want: NoModule, told: "primary"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := tt.node
			if n == nil {
				n = &node{}
			}
			n.resource = good0()
			if tt.from != nil {
				if tt.from(n.resource); n.resource.Name == "" {
					n.resource = nil
				}
			}
			err := tt.do(New(n))
			if (tt.want == nil) != (err == nil) || !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			var told []string
			for _, argv := range n.ran {
				if rest, ok := strings.CutPrefix(argv, "drbdadm "); ok {
					verb, _, _ := strings.Cut(rest, " ")
					told = append(told, verb)
				}
			}
			if got := strings.Join(told, " "); got != tt.told {
				t.Errorf("drbdadm was told %q, want %q", got, tt.told)
			}
		})
	}
}

// TestAVerificationBeginsAtTheFirstBlock although one was broken off, behind which DRBD goes on by itself (seen on 8.4.11).
func TestAVerificationBeginsAtTheFirstBlock(t *testing.T) {
	n := &node{resource: good0(), reached: 33456}
	if err := New(n).Verify(t.Context(), "r0"); err != nil || n.skipped > 0 {
		t.Errorf("%d sectors are left out, %v", n.skipped, err)
	}
}

// TestHangs has a drbdadm that never ends: one that can be killed, and one that hangs in the kernel, of which no more than a few are begun.
func TestHangs(t *testing.T) {
	for _, immortal := range []bool{false, true} {
		t.Run(fmt.Sprintf("immortal=%v", immortal), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{resource: good0(), hangs: true, immortal: immortal}
				c := New(n)
				for range maxStuck {
					began := time.Now()
					err := c.Secondary(t.Context(), "r0")
					if !errors.Is(err, Hangs) || !errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("error %v", err)
					}
					if took := time.Since(began); took > actLimit+dieLimit {
						t.Errorf("it took %v", took)
					}
				}
				begun := n.begun()
				err := c.Secondary(t.Context(), "r0")
				if more := n.begun() - begun; !errors.Is(err, Hangs) || immortal != (more == 0) {
					t.Errorf("with %d that hang: %v, %d more begun", maxStuck, err, more)
				}
				brief, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				if err := New(n).Primary(brief, "r0"); !errors.Is(err, Hangs) {
					t.Errorf("of a caller with less patience: %v", err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := New(n).Secondary(ctx, "r0"); !errors.Is(err, context.Canceled) || errors.Is(err, Hangs) {
					t.Errorf("of a caller that gave up: %v", err)
				}
				time.Sleep(2 * time.Hour) // on the bubble's clock: they end after all
			})
		})
	}
}
