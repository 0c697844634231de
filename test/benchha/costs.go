package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

const (
	manyGroups  = 200
	costWindow  = 20 * time.Second
	jitterLoops = 4
)

// each runs f with every contender at the same time, a lab each.
func (b *bench) each(name string, f func(i int, c contender, dir string) error) error {
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i, c := range b.contenders() {
		wg.Go(func() {
			dir := filepath.Join(b.dir, fmt.Sprintf("%s%d", name, i))
			if err := f(i, c, dir); err != nil {
				errs[i] = fmt.Errorf("%s: %w", c.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// idle takes memory and CPU of the master and the standby of one group.
func (b *bench) idle(ctx context.Context) error {
	memory := row{what: "one group, active", figure: "resident (PSS)"}
	cpu := [2]row{{what: "one group, active", figure: "CPU"}, {what: "one group, standing by", figure: "CPU"}}
	err := b.each("idle", func(i int, c contender, dir string) (err error) {
		r, err := newRig(ctx, dir, cell{name: "idle"}, c)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.lab.Close()) }()
		// What watches would be part of the load: nobody asks, nobody looks.
		r.probe.Stop()
		if err := r.holders.Stop(); err != nil {
			return err
		}
		a, b := family(r.procs["a"].Pid()), family(r.procs["b"].Pid())
		used, err := usage(ctx, a, b)
		if err != nil {
			return err
		}
		rss, pss, err := memoryOf(a)
		if err != nil {
			return err
		}
		memory.values[i] = fmt.Sprintf("%.1f MiB (%.1f)", float64(rss)/1024, float64(pss)/1024)
		cpu[0].values[i], cpu[1].values[i] = percent(used[0]), percent(used[1])
		return nil
	})
	b.report.costs = append(b.report.costs, memory, cpu[0], cpu[1])
	return err
}

// groups takes the CPU of many groups on one interface, all active, and that of a named on the same machine.
func (b *bench) groups(ctx context.Context) error {
	cpu := row{what: fmt.Sprintf("%d groups, active", manyGroups), figure: "CPU"}
	mem := row{what: cpu.what, figure: "resident (PSS)"}
	dns := row{what: cpu.what, figure: "CPU of an idle named beside them"}
	hasNamed := exec.Command("named", "-v").Run() == nil
	if !hasNamed {
		b.report.note("bind9 is not installed: no figure of a named beside the groups.")
	}
	for i, c := range b.contenders() { // one after the other: 200 ucarps are a load themselves
		dir := filepath.Join(b.dir, fmt.Sprintf("many%d", i))
		used, rss, pss, err := b.crowd(ctx, dir, c, hasNamed)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		cpu.values[i], mem.values[i] = percent(used[0]), fmt.Sprintf("%.1f MiB (%.1f)", float64(rss)/1024, float64(pss)/1024)
		if hasNamed {
			dns.values[i] = percent(used[1])
		}
	}
	b.report.costs = append(b.report.costs, cpu, mem)
	if hasNamed {
		b.report.costs = append(b.report.costs, dns)
	}
	return nil
}

func (b *bench) crowd(ctx context.Context, dir string, c contender, hasNamed bool) (used []time.Duration, rss, pss int, err error) {
	lab, err := hatest.New(dir, "a")
	if err != nil {
		return nil, 0, 0, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	a := lab.Node("a")
	var addrs []netip.Addr
	for i := range manyGroups {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 77, 1, byte(i + 1)}))
	}
	var dns []int
	var server *hatest.Process
	if hasNamed {
		if server, err = named(a); err != nil {
			return nil, 0, 0, err
		}
		dns = []int{server.Pid()}
	}
	procs, err := c.many(&rig{}, a, addrs)
	if err != nil {
		return nil, 0, 0, err
	}
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_ = hatest.Until(within, func() bool { return holds(a, addrs) == len(addrs) })
	if err := pause(ctx, 8*time.Second); err != nil { // until what is announced more than once is
		return nil, 0, 0, err
	}
	if held := holds(a, addrs); held < len(addrs) && c.name == "kvmha" {
		return nil, 0, 0, fmt.Errorf("only %d of %d addresses came\n%.2000s", held, len(addrs), procs[0].Output())
	} else if held < len(addrs) {
		b.report.note("%s had %d of %d addresses after half a minute.", c.name, held, len(addrs))
	}
	var pids []int
	for _, p := range procs {
		pids = append(pids, family(p.Pid())...)
	}
	if used, err = usage(ctx, pids, dns); err != nil {
		return nil, 0, 0, err
	}
	if server != nil {
		select {
		case <-server.Ended(): // it would have cost nothing
			return nil, 0, 0, fmt.Errorf("named ended: %s", server.Output())
		default:
		}
	}
	rss, pss, err = memoryOf(pids)
	return used, rss, pss, err
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

// named starts a name server that serves nothing, as Debian's does where nobody asks: it follows the machine's addresses.
func named(n *hatest.Node) (*hatest.Process, error) {
	conf := filepath.Join(n.Dir(), "named.conf")
	text := fmt.Sprintf("options { directory %q; pid-file none; session-keyfile none; listen-on { any; }; listen-on-v6 { none; }; recursion no; };\n"+
		"controls { };\n", n.Dir())
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return n.Start("named", "named", "-g", "-c", conf, "-p", "5353")
}

// jitter takes the intervals of adverts while other programs take all CPUs.
func (b *bench) jitter(ctx context.Context) error {
	x := row{what: fmt.Sprintf("advert every 1 s beside %d busy loops", jitterLoops), figure: "off by, s"}
	rigs := make([]*rig, 3)
	defer func() {
		for _, r := range rigs {
			if r != nil {
				r.lab.Close()
			}
		}
	}()
	if err := b.each("jitter", func(i int, c contender, dir string) (err error) {
		rigs[i], err = newRig(ctx, dir, cell{name: "jitter"}, c)
		return err
	}); err != nil {
		return err
	}
	for _, r := range rigs {
		r.probe.Stop()
		_ = r.holders.Stop()
	}
	var loops []*exec.Cmd
	for range jitterLoops {
		c := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
		if err := c.Start(); err != nil {
			return err
		}
		loops = append(loops, c)
	}
	began := time.Now()
	err := pause(ctx, 30*time.Second)
	for _, c := range loops {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	for i, r := range rigs {
		var off series
		var last time.Time
		for _, f := range r.sniff.Stop() {
			if f.At.Before(began) {
				continue
			}
			if !last.IsZero() {
				off = append(off, (f.At.Sub(last) - time.Second).Abs())
			}
			last = f.At
		}
		x.values[i] = off.String()
	}
	b.report.costs = append(b.report.costs, x)
	return err
}

// usage gives the CPU time per second that each set of processes takes.
func usage(ctx context.Context, sets ...[]int) ([]time.Duration, error) {
	before := make([]time.Duration, len(sets))
	for i, s := range sets {
		before[i] = cpuOf(s)
	}
	began := time.Now()
	if err := pause(ctx, costWindow); err != nil {
		return nil, err
	}
	out := make([]time.Duration, len(sets))
	for i, s := range sets {
		out[i] = time.Duration(float64(cpuOf(s)-before[i]) / time.Since(began).Seconds())
	}
	return out, nil
}

// cpuOf sums what the threads ran, by schedstat: utime and stime count whole ticks.
func cpuOf(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, t := range tasks {
			text, _ := os.ReadFile(t)
			first, _, _ := strings.Cut(string(text), " ")
			ns, _ := strconv.ParseInt(first, 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

func percent(perSecond time.Duration) string {
	return fmt.Sprintf("%.2f %%", perSecond.Seconds()*100)
}

// memoryOf sums Rss and Pss, in KiB.
func memoryOf(pids []int) (rss, pss int, err error) {
	for _, pid := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a script that ended meanwhile
		}
		if err != nil {
			return 0, 0, err
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			fields := strings.Fields(s.Text())
			if len(fields) < 2 {
				continue
			}
			n, _ := strconv.Atoi(fields[1])
			switch fields[0] {
			case "Rss:":
				rss += n
			case "Pss:":
				pss += n
			}
		}
		f.Close()
	}
	return rss, pss, nil
}
