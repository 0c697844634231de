package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// counts is what happens on the way of one start.
type counts struct {
	execs []string // programs, in order
	syncs int      // fsync and fdatasync of kvmctl itself
	qemu  int      // those of QEMU until kvmctl has returned
}

// count runs one `kvmctl start` under strace. strace follows QEMU too, so the guest is ended before strace can end.
func (u *ours) count(ctx context.Context) (counts, error) {
	log := filepath.Join(u.root, "strace.log")
	argv := append([]string{"strace", "-f", "-Y", "-qq", "-o", log, "-e", "trace=execve,execveat,fsync,fdatasync,sync_file_range,syncfs,exit_group"},
		u.argv("start", single)...)
	d, err := startDaemon(filepath.Join(u.root, "strace.out"), argv...)
	if err != nil {
		return counts{}, err
	}
	defer d.stop()
	err = waitFor(ctx, "the start under strace", time.Minute, func() (bool, error) {
		select {
		case <-d.ended:
			text, _ := os.ReadFile(d.log)
			return false, fmt.Errorf("strace ended: %s", strings.TrimSpace(string(text)))
		default:
		}
		text, err := os.ReadFile(log)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return strings.Contains(string(text), "exit_group("), err // kvmctl's own: QEMU runs on
	})
	if err != nil {
		return counts{}, err
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return counts{}, err
	}
	if _, err := u.run(ctx, "stop", single, "--force"); err != nil {
		return counts{}, err
	}
	return readTrace(string(text)), nil
}

// readTrace counts in strace's lines, such as `12<kvmctl> fsync(5) = 0`, up to kvmctl's own end.
func readTrace(text string) counts {
	var c counts
	for line := range strings.Lines(text) {
		who, call, ok := strings.Cut(strings.TrimSpace(line), "> ")
		if !ok {
			continue
		}
		call = strings.TrimSpace(call)
		_, comm, _ := strings.Cut(who, "<")
		name, args, _ := strings.Cut(call, "(")
		switch {
		case strings.HasPrefix(call, "<..."): // the rest of a call that was counted where it began
		case name == "exit_group":
			return c
		case strings.HasPrefix(name, "execve"):
			if _, path, ok := strings.Cut(args, `"`); ok {
				path, _, _ = strings.Cut(path, `"`)
				c.execs = append(c.execs, path)
			}
		case comm == "kvmctl":
			c.syncs++
		default:
			c.qemu++
		}
	}
	return c
}
