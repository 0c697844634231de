package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// series is what one figure's runs took.
type series []time.Duration

func (s series) sorted() series { return slices.Sorted(slices.Values(s)) }

// median of an even number of runs lies between the two in the middle.
func (s series) median() time.Duration {
	if len(s) == 0 {
		return 0
	}
	t := s.sorted()
	return (t[(len(t)-1)/2] + t[len(t)/2]) / 2
}

// span gives the fastest and the slowest run.
func (s series) span() (lo, hi time.Duration) {
	if len(s) == 0 {
		return 0, 0
	}
	return slices.Min(s), slices.Max(s)
}

// contender is one of the things that are measured against each other.
type contender struct {
	name string
	once func(context.Context) (time.Duration, error) // one run; what is not to be counted is outside the returned time
}

// inTurn runs the contenders one after the other, n rounds: A B C A B C …, so that whatever else the machine does meets all of them.
// A round before the first warms the caches and is not counted.
func inTurn(ctx context.Context, n int, all ...contender) ([]series, error) {
	out := make([]series, len(all))
	for round := range n + 1 {
		for i, c := range all {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			d, err := c.once(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s, run %d: %w", c.name, round, err)
			}
			if round > 0 {
				out[i] = append(out[i], d)
			}
		}
	}
	return out, nil
}

// timed runs a program to its end and gives the time from before its fork until its end was seen.
func timed(ctx context.Context, argv ...string) (time.Duration, error) {
	_, d, err := execute(ctx, argv)
	return d, err
}

// output runs a program and gives what it printed on stdout.
func output(ctx context.Context, argv ...string) (string, error) {
	out, _, err := execute(ctx, argv)
	return out, err
}

func execute(ctx context.Context, argv []string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), took, nil
}

// memory is what a process occupies, in KiB.
type memory struct{ rss, pss int }

func (m memory) add(o memory) memory { return memory{m.rss + o.rss, m.pss + o.pss} }

// memoryOf reads smaps_rollup, whose Pss shares out the pages that several processes map.
func memoryOf(pid int) (memory, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return memory{}, err
	}
	defer f.Close()
	var m memory
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.Atoi(fields[1])
		switch {
		case err != nil:
		case fields[0] == "Rss:":
			m.rss = n
		case fields[0] == "Pss:":
			m.pss = n
		}
	}
	return m, nil
}

// waitFor asks until a fact holds.
func waitFor(ctx context.Context, what string, limit time.Duration, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
