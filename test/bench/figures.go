package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What issue and page promise.
const (
	wantStart   = 1.2                    // × the floor, at most
	wantVirsh   = 3.0                    // × faster than virsh start, at least
	wantStatus  = 5.0                    // × faster than virsh list, at least
	wantStopped = 300 * time.Millisecond // for every status with two guests under SIGSTOP
)

// measure takes all figures, prints them, and gives how many wanted ones were missed.
func (b *bench) measure(ctx context.Context) (missed int, err error) {
	b.report.machine = describe(ctx, b)
	for _, step := range []struct {
		name string // for -only; "": always
		say  string
		do   func(context.Context) error
	}{
		{"start", "starts, in turn", b.starts},
		{"count", "executions and fsyncs of a start", b.counts},
		{"", fmt.Sprintf("defining %d guests on each side, %d of them running", b.o.defined, b.o.running), b.populate},
		{"status", "status, in turn", b.status},
		{"stopped", "status with two guests under SIGSTOP", b.statusStopped},
		{"memory", "memory", b.memory},
		{"stop", "graceful stops", b.stops},
		{"net", "networks, in turn", b.networks},
		{"mount", "mounts of an image, in turn", b.imageMounts},
		{"cold", fmt.Sprintf("cold starts of %d guests at once, in turn", b.o.running), b.cold},
	} {
		if step.name != "" && b.o.only != "" && !slices.Contains(strings.Split(b.o.only, ","), step.name) {
			continue
		}
		b.say("%s", step.say)
		if err := step.do(ctx); err != nil {
			return 0, fmt.Errorf("%s: %w", step.say, err)
		}
	}
	fmt.Print(b.report.markdown())
	if b.o.out != "" {
		if err := b.report.writePage(b.o.out); err != nil {
			return 0, err
		}
	}
	return b.report.missed(), nil
}

func (b *bench) starts(ctx context.Context) error {
	all := []contender{{"QEMU", b.floor.once}, {"kvmctl start", b.ours.start}}
	if b.libvirt != nil {
		all = append(all, contender{"virsh start", b.libvirt.start})
	}
	s, err := inTurn(ctx, b.o.runs, all...)
	if err != nil {
		return err
	}
	r := &b.report
	r.add(row{what: "raw QEMU, exec → first QMP answer (the floor)", times: s[0]})
	r.add(row{what: "of it, until the QMP greeting, which comes before the machine is made", times: b.floor.early[1:]})
	r.add(row{what: "`kvmctl start`", times: s[1], wanted: atMost(wantStart, "the floor"), got: times(s[1], s[0]), ok: ratio(s[1], s[0]) <= wantStart})
	v := row{what: "`virsh start`", wanted: faster(wantVirsh)}
	if b.libvirt == nil {
		v.missing = b.noVirt
	} else {
		v.times, v.got, v.ok = s[2], times(s[2], s[1]), ratio(s[2], s[1]) >= wantVirsh
	}
	r.add(v)
	return nil
}

func (b *bench) counts(ctx context.Context) error {
	c, err := b.ours.count(ctx)
	if err != nil {
		return err
	}
	var execs []string
	for _, path := range c.execs {
		execs = append(execs, "`"+filepath.Base(path)+"`")
	}
	b.report.note("On the way of `kvmctl start`: %d execs (%s), %d fsyncs of kvmctl and %d of QEMU.",
		len(c.execs), strings.Join(execs, ", "), c.syncs, c.qemu)
	return nil
}

// populate defines the guests of both sides, then boots them in pairs, one after the other: forty at once would only wait for each other.
func (b *bench) populate(ctx context.Context) error {
	if err := b.ours.define(ctx); err != nil {
		return err
	}
	if b.libvirt != nil {
		if err := b.libvirt.defineAll(ctx); err != nil {
			return err
		}
	}
	for i := range b.o.running {
		if err := b.ours.boot(ctx, i); err != nil {
			return err
		}
		if b.libvirt != nil {
			if err := b.libvirt.boot(ctx, i); err != nil {
				return err
			}
			if err := b.libvirt.ready(ctx, i); err != nil {
				return err
			}
		}
		if err := b.ours.ready(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) status(ctx context.Context) error {
	all := []contender{{"kvmctl status", b.ours.status}}
	if b.libvirt != nil {
		all = append(all, contender{"virsh list --all", b.libvirt.list})
	}
	s, err := inTurn(ctx, b.o.runs, all...)
	if err != nil {
		return err
	}
	b.report.add(row{what: fmt.Sprintf("`kvmctl status`, %d running of %d", b.o.running, b.o.defined), times: s[0]})
	v := row{what: "`virsh list --all`, the same numbers", wanted: faster(wantStatus)}
	if b.libvirt == nil {
		v.missing = b.noVirt
	} else {
		v.times, v.got, v.ok = s[1], times(s[1], s[0]), ratio(s[1], s[0]) >= wantStatus
	}
	b.report.add(v)
	return nil
}

func (b *bench) statusStopped(ctx context.Context) error {
	s, err := b.ours.statusStopped(ctx, b.o.runs)
	if err != nil {
		return err
	}
	_, slowest := s.span()
	b.report.add(row{what: "`kvmctl status`, two of them under SIGSTOP", times: s, wanted: "every run ≤ " + ms(wantStopped), got: ms(slowest),
		ok: slowest <= wantStopped})
	return nil
}

func (b *bench) stops(ctx context.Context) error {
	s, err := b.ours.stops(ctx, b.o.runs)
	if err != nil {
		return err
	}
	b.report.add(row{what: "`kvmctl stop`, from QEMU's own exit until it returned", times: s})
	return nil
}

// memory finds out what stays behind while the guests run.
func (b *bench) memory(context.Context) error {
	procs, err := processes()
	if err != nil {
		return err
	}
	sum := map[string]memory{}
	count := map[string]int{}
	for _, p := range procs {
		m, err := memoryOf(p.pid)
		if err != nil {
			continue // it ended meanwhile
		}
		who := b.belongs(p)
		sum[who] = sum[who].add(m)
		count[who]++
	}
	b.report.memory(sum, count, b.libvirt != nil)
	b.report.add(row{what: "processes of kvmctl that stay behind", wanted: "none", got: fmt.Sprint(count[behindOurs]), ok: count[behindOurs] == 0})
	return nil
}

// The groups of processes.
const (
	qemuOurs    = "QEMU of kvmctl's guests"
	qemuTheirs  = "QEMU of libvirt's guests"
	behindOurs  = "kvmctl"
	behindOther = "other"
)

func (b *bench) belongs(p process) string {
	switch name := filepath.Base(p.exe); {
	case p.exe == b.bin:
		return behindOurs
	case strings.Contains(p.line, "guest="+prefix):
		return qemuOurs
	case strings.Contains(p.line, "guest="+virtPrefix):
		return qemuTheirs
	case name == "libvirtd", name == "virtlogd":
		return name
	case name == "dnsmasq":
		return "dnsmasq"
	default:
		return behindOther + ": " + name
	}
}
