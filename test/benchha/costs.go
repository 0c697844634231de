package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
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
		a, b := r.pids("a"), r.pids("b")
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
