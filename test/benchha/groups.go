package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// groups takes the CPU of many groups on one interface, all active, and that of a named on the same machine.
func (b *bench) groups(ctx context.Context) error {
	cpu := row{what: fmt.Sprintf("%d groups, active", manyGroups), figure: "CPU"}
	mem := row{what: cpu.what, figure: "resident (PSS)"}
	dns := row{what: cpu.what, figure: "CPU of an idle named beside them"}
	quiet := row{what: cpu.what, figure: "CPU of one with automatic-interface-scan no"}
	told := row{what: cpu.what, figure: "address messages of the kernel, a second"}
	hasNamed := exec.Command("named", "-v").Run() == nil
	if !hasNamed {
		b.report.note("bind9 is not installed: no figure of a named beside the groups.")
	}
	for i, c := range b.contenders() { // one after the other: 200 ucarps are a load themselves
		dir := filepath.Join(b.dir, fmt.Sprintf("many%d", i))
		got, err := b.crowd(ctx, dir, c, hasNamed)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		cpu.values[i], mem.values[i] = percent(got.used), fmt.Sprintf("%.1f MiB (%.1f)", float64(got.rss)/1024, float64(got.pss)/1024)
		dns.values[i], quiet.values[i], told.values[i] = percent(got.named), percent(got.quiet), fmt.Sprintf("%.0f", got.told)
	}
	b.report.costs = append(b.report.costs, cpu, mem, told)
	if hasNamed {
		b.report.costs = append(b.report.costs, dns, quiet)
	}
	return nil
}

// crowded is what many groups cost.
type crowded struct {
	used     time.Duration // CPU time a second
	named    time.Duration // likewise, of a name server beside it
	quiet    time.Duration // likewise, of one that does not follow the addresses
	rss, pss int           // KiB
	told     float64       // messages a second that everybody hears who follows the machine's addresses
}

func (b *bench) crowd(ctx context.Context, dir string, c contender, hasNamed bool) (got crowded, err error) {
	lab, err := hatest.New(dir, "a")
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	a := lab.Node("a")
	var addrs []netip.Addr
	for i := range manyGroups {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 77, 1, byte(i + 1)}))
	}
	var server, deaf *hatest.Process
	if hasNamed {
		server, err = named(a, "named", namedPort, "")
		if err == nil {
			deaf, err = named(a, "deaf", namedPort+1, "automatic-interface-scan no; interface-interval 0; ")
		}
		if err != nil {
			return got, err
		}
	}
	procs, err := c.many(&rig{}, a, addrs)
	if err != nil {
		return got, err
	}
	if c.beside != nil {
		p, err := c.beside(a)
		if err != nil {
			return got, err
		}
		procs = append(procs, p)
	}
	held, err := b.gather(ctx, a, c, addrs, server)
	if err != nil {
		return got, fmt.Errorf("%w\n%.2000s", err, procs[0].Output())
	}
	if held < len(addrs) {
		b.report.note("%s had %d of %d addresses after half a minute.", c.name, held, len(addrs))
	}
	var pids, dns, deafs []int
	for _, p := range procs {
		pids = append(pids, family(p.Pid())...)
	}
	if server != nil {
		dns, deafs = []int{server.Pid()}, []int{deaf.Pid()}
	}
	heard, stop, err := listen(a)
	if err != nil {
		return got, err
	}
	began := time.Now()
	used, err := usage(ctx, pids, dns, deafs)
	got.told = float64(heard.Load()) / time.Since(began).Seconds()
	stop()
	if err != nil {
		return got, err
	}
	got.used, got.named, got.quiet = used[0], used[1], used[2]
	for _, s := range []*hatest.Process{server, deaf} {
		if s == nil {
			continue
		}
		select {
		case <-s.Ended(): // it would have cost nothing
			return got, fmt.Errorf("named ended: %s", tail(s))
		default:
		}
		// So would one whose socket overflowed: it says so, and follows nothing any more (lib/ns/interfacemgr.c, route_recv).
		if strings.Contains(s.Output(), "interface scanning terminated") {
			return got, fmt.Errorf("named stopped to follow the addresses: %s\n%s", tail(s), tail(procs[0]))
		}
	}
	got.rss, got.pss, err = memoryOf(pids)
	return got, err
}

// tail is the end of what a program said.
func tail(p *hatest.Process) string {
	const most = 2000
	out := p.Output()
	return out[max(0, len(out)-most):]
}

// gather waits until all addresses are there, named serves them all, and the first announcements are over. Others than kvmha may not get that far.
func (b *bench) gather(ctx context.Context, a *hatest.Node, c contender, addrs []netip.Addr, server *hatest.Process) (held int, err error) {
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_ = hatest.Until(within, func() bool { return holds(a, addrs) == len(addrs) })
	if held = holds(a, addrs); held < len(addrs) && c.name == "kvmha" {
		return held, fmt.Errorf("only %d of %d addresses came", held, len(addrs))
	}
	if server != nil {
		within, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if hatest.Until(within, func() bool { return serves(server.Pid()) >= held }) != nil && held == len(addrs) {
			return held, fmt.Errorf("named serves %d of %d addresses: what it costs would be too little\n%.2000s", serves(server.Pid()), held, server.Output())
		}
	}
	return held, pause(ctx, 8*time.Second)
}

// listen counts the kernel's messages about addresses on a node, as whoever follows them hears them.
func listen(n *hatest.Node) (heard *atomic.Int64, stop func(), err error) {
	heard = new(atomic.Int64)
	news, quit, done := make(chan netlink.AddrUpdate, 1024), make(chan struct{}), make(chan struct{})
	// The socket belongs to the namespace of the thread that makes it.
	if err := n.Do(func() error {
		return netlink.AddrSubscribeWithOptions(news, quit, netlink.AddrSubscribeOptions{ReceiveBufferSize: 1 << 20, ReceiveBufferForceSize: true})
	}); err != nil {
		return nil, nil, fmt.Errorf("follow the addresses of %s: %w", n.Name, err)
	}
	go func() {
		defer close(done)
		for range news { // closed when quit is
			heard.Add(1)
		}
	}()
	return heard, func() { close(quit); <-done }, nil
}

// serves counts the addresses, but for those of lo, on which the named of this process has a UDP socket.
func serves(pid int) int {
	at := map[string]bool{}
	for line := range strings.Lines(read(fmt.Sprintf("/proc/%d/net/udp", pid))) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasSuffix(f[1], fmt.Sprintf("014D0A:%04X", namedPort)) {
			at[f[1]] = true
		}
	}
	return len(at)
}

// holds counts the addresses that the node has.
func holds(n *hatest.Node, addrs []netip.Addr) (count int) {
	all, _ := n.Kernel.AddrList(nil, unix.AF_INET)
	have := map[string]bool{}
	for _, x := range all {
		have[x.IP.String()] = true
	}
	for _, a := range addrs {
		if have[a.String()] {
			count++
		}
	}
	return count
}

const namedPort = 5353

// named starts a name server that serves nothing, as Debian's does where nobody asks: it follows the machine's addresses, unless the options say otherwise.
func named(n *hatest.Node, name string, port int, options string) (*hatest.Process, error) {
	conf := filepath.Join(n.Dir(), name+".conf")
	text := fmt.Sprintf("options { directory %q; pid-file none; session-keyfile none; listen-on { any; }; listen-on-v6 { none; }; recursion no; %s};\n"+
		"controls { };\n", n.Dir(), options)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return n.Start(name, "named", "-g", "-c", conf, "-p", strconv.Itoa(port))
}
