package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm"
)

// wantCold is what starting many guests at once may cost: × a shell loop over raw QEMU, at most.
const wantCold = 1.1

// cold starts the same guests at once, by kvmctl and by a shell loop over QEMU.
type cold struct {
	u      *ours
	names  []string
	dir    string // of the shell's sockets, logs and pidfiles
	script string
}

// newCold writes the shell's script and makes its TAPs. The guests were started before, so each has its ABI lock.
func newCold(ctx context.Context, u *ours) (*cold, error) {
	c := &cold{u: u, names: names(prefix, u.o.running), dir: filepath.Join(u.root, "cold")}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, err
	}
	script := "#!/bin/sh\n"
	for i, name := range c.names {
		spec, err := u.spec(ctx, name)
		if err != nil {
			return nil, err
		}
		p, err := u.host.Prepare(ctx, spec)
		if err != nil {
			return nil, err
		}
		tap := fmt.Sprintf("kvcold%d", i)
		if _, err := output(ctx, "ip", "tuntap", "add", "dev", tap, "mode", "tap"); err != nil {
			return nil, err
		}
		if _, err := output(ctx, "ip", "link", "set", tap, "master", bridge, "up"); err != nil {
			return nil, err
		}
		argv := byPath(p.Argv, c.files(p.Wiring, spec, name), tap, c.pidfile(name))
		script += vm.CommandLine(argv) + " >/dev/null &\n"
	}
	c.script = filepath.Join(c.dir, "start.sh")
	return c, os.WriteFile(c.script, []byte(script+"wait\n"), 0o700)
}

func (c *cold) pidfile(name string) string { return filepath.Join(c.dir, name+".pid") }

// files gives, for each descriptor that kvmctl would hand over, the path under which a shell has the same.
func (c *cold) files(w *vm.Wiring, spec *vm.Spec, name string) map[int]string {
	files := map[int]string{}
	for i, n := range w.Names() {
		path := filepath.Join(c.dir, name+"."+n)
		var disk, layer int
		switch {
		case n == "kernel":
			path = spec.Kernel
		case n == "initrd":
			path = spec.Initrd
		case scan(n, "disk%d.%d.ro", &disk, &layer), scan(n, "disk%d.%d", &disk, &layer):
			path = w.Chains[disk][layer].Path
		}
		files[vm.FirstFD+i] = path
	}
	return files
}

var (
	fdPath   = regexp.MustCompile(`/(?:dev/fdset|proc/self/fd)/(\d+)`)
	socketFD = regexp.MustCompile(`^(socket,id=[a-z]+),fd=(\d+)(,server=on,wait=off)?`)
	tapFD    = regexp.MustCompile(`^(tap,id=net0),fd=\d+.*`)
)

// byPath turns kvmctl's command line into what a person would write in a shell: files by their paths instead of descriptors, sockets that
// QEMU makes itself, and -daemonize, with which QEMU's first process ends when the machine is made and the guest runs. What
// -daemonize cannot be had with goes: the sandbox, and the stop before the first instruction.
func byPath(argv []string, files map[int]string, tap, pidfile string) []string {
	path := func(number string) string {
		n, err := strconv.Atoi(number)
		if err != nil {
			return ""
		}
		return files[n]
	}
	var out []string
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		switch arg {
		case "-add-fd", "-sandbox", "-pidfile":
			i++
			continue
		case "-S":
			continue
		}
		arg = socketFD.ReplaceAllStringFunc(arg, func(s string) string {
			m := socketFD.FindStringSubmatch(s)
			return m[1] + ",path=" + path(m[2]) + ",server=on,wait=off"
		})
		arg = tapFD.ReplaceAllString(arg, "$1,ifname="+tap+",script=no,downscript=no")
		arg = fdPath.ReplaceAllStringFunc(arg, func(s string) string { return path(fdPath.FindStringSubmatch(s)[1]) })
		out = append(out, arg)
	}
	return append(out, "-pidfile", pidfile, "-daemonize")
}

// ours is one `kvmctl start` of them all.
func (c *cold) ours(ctx context.Context) (time.Duration, error) {
	d, err := timed(ctx, c.u.argv(append([]string{"start"}, c.names...)...)...)
	if err != nil {
		return 0, err
	}
	return d, c.u.close()
}

// shell is one run of the loop, which ends when the last QEMU has its machine.
func (c *cold) shell(ctx context.Context) (time.Duration, error) {
	d, err := timed(ctx, "/bin/sh", c.script)
	return d, errors.Join(err, c.kill(ctx))
}

// kill ends the shell's guests.
func (c *cold) kill(ctx context.Context) error {
	for _, name := range c.names {
		text, err := os.ReadFile(c.pidfile(name))
		if err != nil {
			return fmt.Errorf("the shell did not start %s: %w", name, err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return err
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return fmt.Errorf("%s, started by the shell, has ended: %w", name, err)
		}
		gone := func() (bool, error) { return errors.Is(unix.Kill(pid, 0), unix.ESRCH), nil }
		if err := waitFor(ctx, "the end of "+name, time.Minute, gone); err != nil {
			return err
		}
		if err := os.Remove(c.pidfile(name)); err != nil {
			return err
		}
	}
	return nil
}

// cold adds the figure. Nothing of ours runs when it begins.
func (b *bench) cold(ctx context.Context) error {
	if err := b.ours.close(); err != nil {
		return err
	}
	c, err := newCold(ctx, b.ours)
	if err != nil {
		return err
	}
	s, err := inTurn(ctx, b.o.runs, contender{"a shell loop over QEMU", c.shell}, contender{"kvmctl start of all", c.ours})
	if err != nil {
		return err
	}
	b.report.add(row{what: fmt.Sprintf("a shell loop over raw QEMU, %d guests: `qemu … -daemonize &`, `wait`", len(c.names)), times: s[0]})
	b.report.add(row{what: fmt.Sprintf("`kvmctl start` of the same %d", len(c.names)), times: s[1], wanted: atMost(wantCold, "the shell loop"),
		got: times(s[1], s[0]), ok: ratio(s[1], s[0]) <= wantCold})
	return nil
}
