package guard_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/netbridge/guard"
)

const patience = 90 * time.Second

// noSleep takes a second from the end of each process that the race detector is in.
const noSleep = "GORACE=atexit_sleep_ms=0"

// host is a namespace of the test's own whose eth0 has something of everything, and its files.
type host struct {
	dir    string
	before string
}

// setLinks and setUp are what ip(8) is told; the other end of eth0 is the LAN's. An address that was there before the carrier would
// lose its route and get it again at some moment.
const setLinks = `link set lo up
link add eth0 address 52:54:00:ee:00:01 type veth peer name lan0
link set eth0 addrgenmode none
link set lan0 up
link set eth0 up
`

const setUp = `addr add 10.7.0.2/24 brd + dev eth0
addr add 10.7.0.3/24 dev eth0
addr add 10.8.0.9/24 dev eth0 label eth0:x valid_lft 30000 preferred_lft 20000
addr add fd07::2/64 dev eth0 nodad
addr add fd08::2/64 dev eth0 nodad noprefixroute
route add default via 10.7.0.1 metric 7
route add default via fd07::1 metric 50
route add fd08::/64 dev eth0 metric 99
route add 198.51.100.0/24 dev eth0 table 77
route add 192.0.2.0/25 dev eth0 via 10.9.9.9 onlink
route add 192.0.2.128/25 nexthop via 10.7.0.4 dev eth0 weight 1 nexthop via 10.7.0.5 dev eth0 weight 2
neigh add 10.7.0.77 lladdr 52:54:00:77:77:77 dev eth0
neigh add fd07::77 lladdr 52:54:00:77:77:77 dev eth0 router
`

func newHost(t *testing.T) *host {
	t.Helper()
	testenv.Need(t, testenv.Netns, "ip")
	runtime.LockOSThread() // for good: the thread ends with its namespace
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	batch := func(lines string) {
		ip := exec.CommandContext(t.Context(), "ip", "-batch", "-")
		ip.Stdin = strings.NewReader(lines)
		if out, err := ip.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	batch(setLinks)
	eventually(t, "eth0 has a carrier", func() bool {
		return strings.Contains(dump(t), "state UP") && strings.Contains(dump(t), "ff00::/8 dev eth0")
	})
	batch(setUp)
	h := &host{dir: t.TempDir()}
	eventually(t, "eth0 has its addresses", func() bool {
		return strings.Contains(dump(t), "local fd08::2") && strings.Contains(dump(t), "local fd07::2")
	})
	h.before = dump(t)
	return h
}

var seconds = regexp.MustCompile(`_lft [0-9]+sec|expires [0-9]+sec`)

// dump is everything that ip(8) tells of the host's network, but for what is left of lifetimes and the LAN's end.
func dump(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, ask := range []string{"-d link show dev eth0", "addr show dev eth0", "-4 route show table all", "-6 route show table all",
		"neigh show nud permanent", "-o link show type bridge"} {
		out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(ask)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", ask, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "dev lan0") {
				b.WriteString(seconds.ReplaceAllString(line, "some time"))
			}
		}
	}
	return b.String()
}

// run plays kvmctl to its end.
func (h *host) run(t *testing.T, as string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), append([]string{asEnv + "=" + as, dirEnv + "=" + h.dir, timeEnv + "=60s", noSleep}, env...)...)
	var out bytes.Buffer // a file: the guard, which goes on, must not be waited for
	log, err := os.Create(filepath.Join(h.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Run()
	if b, err := os.ReadFile(log.Name()); err == nil {
		out.Write(b)
	}
	return out.String(), err
}

func killed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

func eventually(t *testing.T, what string, fact func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !fact(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// undone waits until nobody has anything to undo, and compares.
func (h *host) undone(t *testing.T) {
	t.Helper()
	eventually(t, "the record is gone", func() bool { return !guard.Left(filesIn(h.dir)) })
	h.same(t, func(s string) string { return s })
}

// same compares what counts of the network with what it was. The kernel makes an IPv6 address's local route in its own time: when it has
// found the address to be nobody else's.
func (h *host) same(t *testing.T, plain func(string) string) {
	t.Helper()
	var diff string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if diff = cmp.Diff(plain(h.before), plain(dump(t))); diff == "" {
			return
		}
	}
	t.Errorf("the network before (-) and after the change was undone (+):\n%s", diff)
}

// each runs a test for n = 0, 1, … until it says that n was too many.
func each(t *testing.T, test func(t *testing.T, n int) (more bool)) {
	t.Helper()
	for n, more := 0, true; more; n++ {
		if n > 200 {
			t.Fatal("no end of the steps")
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			more = false
			more = test(t, n) && !t.Failed()
		})
	}
}

func TestAChangeThatNobodyConfirmsIsUndoneExactly(t *testing.T) {
	h := newHost(t)
	if out, err := h.run(t, "apply", timeEnv+"=6s"); err != nil {
		t.Fatal(err, out)
	}
	if dump(t) == h.before {
		t.Fatal("nothing was changed")
	}
	if out, err := h.run(t, "apply"); err == nil || !strings.Contains(out, "a change by the test (pid ") {
		t.Errorf("a second change meanwhile: %v, %s", err, out)
	}
	h.undone(t)
	if out, err := h.run(t, "confirm"); err == nil || !strings.Contains(out, "nobody confirmed it in time") {
		t.Errorf("confirmed too late: %v, %s", err, out)
	}
}

func TestAConfirmedChangeStaysAndCanBeTakenBackExactly(t *testing.T) {
	h := newHost(t)
	for _, as := range []string{"apply", "confirm"} {
		if out, err := h.run(t, as); err != nil {
			t.Fatal(as, err, out)
		}
	}
	f := filesIn(h.dir)
	eventually(t, "the guard has gone", func() bool {
		b, _ := exec.Command("sh", "-c", "flock -n "+f.GuardLock+" echo free").Output()
		return len(b) > 0
	})
	eventually(t, "duplicate address detection is over", func() bool { // its end adds routes
		b, err := exec.Command("ip", "-6", "addr", "show", "tentative").Output()
		return err == nil && len(b) == 0
	})
	moved := dump(t)
	if !strings.Contains(moved, "default via 10.7.0.1 dev br0") || strings.Contains(moved, "10.7.0.2/24") {
		t.Errorf("after the change:\n%s", moved)
	}
	moves, err := f.Moves()
	if want := []guard.Move{{Bridge: "br0", Uplink: "eth0", MAC: "52:54:00:ee:00:01"}}; err != nil || !cmp.Equal(moves, want) {
		t.Errorf("confirmed moves %v, error %v", moves, err)
	}
	if out, err := h.run(t, "recover"); err != nil || out != "0\n" {
		t.Errorf("recover after the confirmation: %v, %s", err, out)
	}
	if d := cmp.Diff(moved, dump(t)); d != "" {
		t.Errorf("recover after the confirmation changed something (-before +after):\n%s", d)
	}
	for _, as := range []string{"down", "confirm"} {
		if out, err := h.run(t, as); err != nil {
			t.Fatal(as, err, out)
		}
	}
	h.undone(t)
}

// kvmctl dies before each of its steps; the guard puts everything right at once.
func TestAChangeWhoseMakerIsKilledIsUndoneByTheGuard(t *testing.T) {
	for _, as := range []string{"apply", "down"} {
		t.Run(as, func(t *testing.T) {
			each(t, func(t *testing.T, n int) bool {
				h := newHost(t)
				if as == "down" {
					for _, first := range []string{"apply", "confirm"} {
						if out, err := h.run(t, first); err != nil {
							t.Fatal(err, out)
						}
					}
					h.before = dump(t)
				}
				out, err := h.run(t, as, dieEnv+"="+fmt.Sprint(n), timeEnv+"=2s")
				if err != nil && !killed(err) {
					t.Fatal(err, out)
				}
				h.settled(t, as)
				return err != nil
			})
		})
	}
}

// settled is undone for a bridge that had to be made again: it has another number, and its link-local address comes by itself.
func (h *host) settled(t *testing.T, as string) {
	t.Helper()
	if as != "down" {
		h.undone(t)
		return
	}
	eventually(t, "the record is gone", func() bool { return !guard.Left(filesIn(h.dir)) })
	plain := func(s string) string {
		var b strings.Builder
		for line := range strings.Lines(s) {
			if !strings.Contains(line, "fe80:") && !strings.Contains(line, "ff00::/8") {
				b.WriteString(regexp.MustCompile(`^[0-9]+: |qdisc .*`).ReplaceAllString(line, ""))
			}
		}
		return b.String()
	}
	eventually(t, "the bridge has a carrier", func() bool { return !strings.Contains(dump(t), "NO-CARRIER") })
	h.same(t, plain)
}

// The guard dies before each of its steps; the next command puts everything right, even if it dies once itself.
func TestAChangeWhoseGuardIsKilledIsUndoneByTheNextCommand(t *testing.T) {
	each(t, func(t *testing.T, n int) bool {
		h := newHost(t)
		if out, err := h.run(t, "apply", guardEnv+"="+fmt.Sprint(n), timeEnv+"=10ms"); err != nil {
			t.Fatal(err, out)
		}
		f := filesIn(h.dir)
		gone := func() bool { return exec.Command("flock", "-n", f.GuardLock, "true").Run() == nil }
		eventually(t, "the guard has gone", gone)
		more := guard.Left(f)
		if _, err := h.run(t, "recover", dieEnv+"="+fmt.Sprint(n)); err != nil && !killed(err) {
			t.Fatal(err)
		}
		if out, err := h.run(t, "recover"); err != nil {
			t.Fatal(err, out)
		}
		h.undone(t)
		return more
	})
}

func TestWithoutAGuardNothingIsChanged(t *testing.T) {
	h := newHost(t)
	out, err := h.run(t, "apply", guardEnv+"=absent")
	if err == nil || !strings.Contains(out, "start the guard: no guard to be had") {
		t.Errorf("%v: %s", err, out)
	}
	h.undone(t)
}

func TestARecordOfAnEarlierBootIsForgotten(t *testing.T) {
	h := newHost(t)
	if out, err := h.run(t, "apply", guardEnv+"=0", timeEnv+"=10ms"); err != nil {
		t.Fatal(err, out)
	}
	f := filesIn(h.dir)
	eventually(t, "the guard has gone", func() bool { return exec.Command("flock", "-n", f.GuardLock, "true").Run() == nil })
	b, err := os.ReadFile(f.Record)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bridge has its link-local address", func() bool { return strings.Contains(dump(t), "local fe80:") })
	moved := dump(t)
	for field, outcome := range map[string]string{`"netns":"`: "3\n", `"boot":"`: "2\n"} { // another namespace: not to be touched; another boot: nothing to touch
		other := bytes.Replace(b, []byte(field), []byte(field+"x"), 1)
		if err := os.WriteFile(f.Record, other, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := h.run(t, "recover"); err != nil || out != outcome {
			t.Errorf("%s: outcome %q, error %v, want %q", field, out, err, outcome)
		}
		if dump(t) != moved {
			t.Errorf("%s: the network was changed", field)
		}
		if left := guard.Left(f); left != (outcome == "3\n") {
			t.Errorf("%s: the record is left: %v", field, left)
		}
	}
}

func TestADamagedRecordIsToldAndNotActedOn(t *testing.T) {
	h := newHost(t)
	f := filesIn(h.dir)
	for _, text := range []string{"", "{", `{"version":2,"id":"x"}`, `{"version":1}`, `{"version":1,"id":"x","before":[{"name":"a/b"}]}`} {
		if err := os.WriteFile(f.Record, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, as := range []string{"recover", "apply", "confirm"} {
			if out, err := h.run(t, as); err == nil || !strings.Contains(out, "it is damaged") {
				t.Errorf("%q, %s: %v, %s", text, as, err, out)
			}
		}
		if dump(t) != h.before {
			t.Errorf("%q: the network was changed", text)
		}
	}
}

// A full disk: the change is not begun, or it is undone; never is there a change that nobody could undo.
func TestAFullDiskLeavesTheNetworkAsItWas(t *testing.T) {
	worked := 0
	sizes := []int{1, 2, 3, 4, 5, 6, 16}
	for _, pages := range sizes {
		t.Run(fmt.Sprint(pages, " pages"), func(t *testing.T) {
			h := newHost(t)
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil { // of this thread, which ends with the test
				t.Fatal(err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				t.Fatal(err)
			}
			out := h.dir
			h.dir = filepath.Join(out, "disk")
			if err := os.Mkdir(h.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", h.dir, "tmpfs", 0, fmt.Sprint("size=", 4096*pages)); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			cmd.Env = append(os.Environ(), asEnv+"=apply", dirEnv+"="+h.dir, timeEnv+"=1s", noSleep)
			log, err := os.Create(filepath.Join(out, "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			cmd.Stdout, cmd.Stderr = log, log
			if err := cmd.Run(); err == nil {
				worked++
			} else if b, _ := os.ReadFile(log.Name()); !strings.Contains(string(b), "no space left on device") && !strings.Contains(string(b), "wait for the guard") {
				t.Errorf("%v: %s", err, b)
			}
			h.undone(t)
			f := filesIn(h.dir) // whoever holds the lock would hold the file system
			eventually(t, "the guard has let go of its lock", func() bool { return exec.Command("flock", "-n", f.GuardLock, "true").Run() == nil })
			if err := unix.Unmount(h.dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	if worked == 0 || worked == len(sizes) {
		t.Errorf("%d of %d changes worked: the sizes show nothing", worked, len(sizes))
	}
}
