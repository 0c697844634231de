package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	argv := append([]string{"strace", "-f", "-Y", "-qq", "-o", log, "-e", "signal=none",
		"-e", "trace=execve,execveat,fsync,fdatasync,syncfs,exit_group"},
		u.argv("start", single)...)
	d, err := startDaemon(filepath.Join(u.root, "strace.out"), argv...)
	if err != nil {
		return counts{}, err
	}
	defer d.stop()
	var text []byte
	err = waitFor(ctx, "the start under strace", time.Minute, func() (bool, error) {
		select {
		case <-d.ended:
			text, _ := os.ReadFile(d.log)
			return false, fmt.Errorf("strace ended: %s", strings.TrimSpace(string(text)))
		default:
		}
		var err error
		text, err = os.ReadFile(log)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		_, ended := readTrace(string(text), u.host.QEMU)
		return ended, err
	})
	if err != nil {
		return counts{}, err
	}
	if _, err := u.run(ctx, "stop", single, "--force"); err != nil {
		return counts{}, err
	}
	c, _ := readTrace(string(text), u.host.QEMU)
	return c, nil
}

// readTrace counts in strace's lines, such as `12<kvmctl> fsync(5) = 0`, up to the end of the kvmctl that started qemu. Before that
// another process of kvmctl's may end: Go's runtime forks one to try out pidfds.
func readTrace(text, qemu string) (c counts, ended bool) {
	for line := range strings.Lines(text) {
		who, call, _ := strings.Cut(strings.TrimSpace(line), "> ")
		_, comm, _ := strings.Cut(who, "<")
		name, args, ok := strings.Cut(strings.TrimSpace(call), "(")
		switch {
		case !ok: // the rest of a call that was counted where it began, or a process's end
		case name == "exit_group" && comm == "kvmctl" && slices.Contains(c.execs, qemu):
			return c, true
		case name == "execve", name == "execveat":
			if _, path, ok := strings.Cut(args, `"`); ok {
				path, _, _ = strings.Cut(path, `"`)
				c.execs = append(c.execs, path)
			}
		case name == "fsync", name == "fdatasync", name == "syncfs":
			if comm == "kvmctl" {
				c.syncs++
			} else {
				c.qemu++
			}
		}
	}
	return c, false
}
