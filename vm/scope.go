package vm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kvmctl/internal/systemd"
	"kvmctl/internal/units"
)

// Limits bound what a guest takes of the host, in its scope's cgroup; 0: no limit.
type Limits struct {
	CPU       int        // percent of one of the host's CPUs: 150 is one and a half
	CPUWeight int        // share when CPUs are short, 1 to 10000; the kernel's default is 100
	Memory    units.Size // guest and QEMU together; the kernel kills the guest that needs more
	IOWeight  int        // share when a disk is busy, 1 to 10000; the kernel's default is 100
	Tasks     int        // threads of QEMU
}

// IsZero reports that nothing is bounded.
func (l Limits) IsZero() bool { return l == Limits{} }

// qemuOverhead is what QEMU is granted beside the guest's memory: itself, its devices' buffers, the code that TCG translates.
const qemuOverhead = 256 * units.MiB

// LeastMemoryLimit is the lowest limit under which a guest with so much memory is not killed for using it.
func LeastMemoryLimit(memory units.Size) units.Size { return memory + qemuOverhead }

// qemuThreads are QEMU's own, beside one for each CPU: its main loop, RCU, VNC, and up to 64 workers for disks (util/thread-pool.c).
const qemuThreads = 80

// LeastTasks is the lowest limit under which QEMU can have the threads that it wants.
func LeastTasks(cpusMax int) int { return cpusMax + qemuThreads }

// The units that guests live in and hang on; contrib/systemd has those that are files.
const (
	guestSlice  = "kvm.slice"
	HostService = "kvm.service" // starts guests at boot and stops them at shutdown
)

// ScopeName is the unit that a guest's QEMU runs in.
func ScopeName(guest string) string { return "kvm-" + guest + ".scope" }

// EndedUnit is the oneshot that systemd starts when the guest's scope is empty, however that came.
func EndedUnit(guest string) string { return "kvm-ended@" + guest + ".service" }

// ScopeOf gives the scope for a guest's QEMU.
//
// Without DefaultDependencies=no it would be stopped before kvm.service, which is a power cut for the guest: SIGTERM makes QEMU quit.
// Before=kvm.service means the reverse at shutdown: the scope goes after kvm.service has asked the guest and waited. SendSIGKILL=no
// leaves a QEMU that needs long to write back alone. A scope that failed is forgotten, so that its name is free for the next start.
func ScopeOf(spec *Spec, pid int) systemd.Unit {
	description := "KVM guest " + spec.Name
	if spec.Description != "" {
		line, _, _ := strings.Cut(spec.Description, "\n")
		description += ": " + line
	}
	ended := []string{EndedUnit(spec.Name)}
	u := systemd.Unit{Name: ScopeName(spec.Name), Properties: []systemd.Property{
		systemd.Prop("Description", description),
		systemd.Prop("Slice", guestSlice),
		systemd.Prop("DefaultDependencies", false),
		systemd.Prop("Before", []string{HostService}),
		systemd.Prop("SendSIGKILL", false),
		systemd.Prop("CollectMode", "inactive-or-failed"),
		systemd.Prop("OnSuccess", ended),
		systemd.Prop("OnFailure", ended),
		systemd.Prop("PIDs", []uint32{uint32(pid)}),
	}}
	add := func(name string, value uint64) {
		if value > 0 {
			u.Properties = append(u.Properties, systemd.Prop(name, value))
		}
	}
	l := spec.Limits
	add("CPUQuotaPerSecUSec", uint64(l.CPU)*uint64(time.Second/time.Microsecond)/100)
	add("CPUWeight", uint64(l.CPUWeight))
	add("MemoryMax", uint64(l.Memory))
	add("IOWeight", uint64(l.IOWeight))
	add("TasksMax", uint64(l.Tasks))
	return u
}

// ScopeError says that a guest could not be put into a scope of its own. It is not let go then: in the caller's session it would
// be killed at logout, or lose its power at shutdown.
type ScopeError struct {
	Unit string
	Err  error
}

func (e *ScopeError) Error() string { return fmt.Sprintf("put it into %s: %v", e.Unit, e.Err) }
func (e *ScopeError) Unwrap() error { return e.Err }

// Hint is that of the cause, or the way without systemd.
func (e *ScopeError) Hint() string {
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		return h.Hint()
	}
	return "systemctl status; without systemd's care: kvmctl start --no-scope " + strings.TrimSuffix(strings.TrimPrefix(e.Unit, "kvm-"), ".scope")
}

// GoingDownError refuses a start while the host shuts down: nobody would stop the guest any more.
type GoingDownError struct{}

func (*GoingDownError) Error() string { return "the host is shutting down" }

// Hint says what follows.
func (*GoingDownError) Hint() string { return "guests with autostart = true start with the host" }

// Refused marks the error as a refusal for safety.
func (*GoingDownError) Refused() bool { return true }

// scopeTime bounds the talk with systemd: it answers in milliseconds.
const scopeTime = 20 * time.Second

// enterScope has QEMU put into its scope while it gets ready; inScope waits for that before the guest is let go.
func (s *starting) enterScope(ctx context.Context) {
	if s.h.Place == nil {
		if !s.spec.Limits.IsZero() {
			s.p.Notes = append(s.p.Notes, "[limits] are not kept: no systemd makes a scope for it")
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, scopeTime)
	s.placed = make(chan struct{})
	s.onUndo(func() { cancel(); <-s.placed }) // owner
	u := ScopeOf(s.spec, s.cmd.Process.Pid)
	go func() {
		defer close(s.placed)
		defer cancel()
		if s.placeNotes, s.placeErr = s.h.Place(ctx, u); s.placeErr != nil {
			s.placeErr = &ScopeError{u.Name, s.placeErr}
		}
	}()
}

func (s *starting) inScope(context.Context) error {
	if s.placed == nil {
		return nil
	}
	<-s.placed // within scopeTime
	s.p.Notes = append(s.p.Notes, s.placeNotes...)
	return s.placeErr
}
