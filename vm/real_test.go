package vm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// site is a test and its host.
type site struct {
	*vm.Host
	t testing.TB
}

func newSite(t testing.TB) site {
	t.Helper()
	return site{vmtest.Host(t), t}
}

// until waits for a fact.
func (h site) until(fact string, holds func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(vmtest.Patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("in vain: %s", fact)
		}
	}
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// within is a context for one act of a test.
func (h site) within() context.Context {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), vmtest.Patience)
	h.t.Cleanup(cancel)
	return ctx
}

// image makes an empty image.
func (h site) image(format string, more ...string) string {
	h.t.Helper()
	path := filepath.Join(h.Root, fmt.Sprintf("%d.%s", time.Now().UnixNano(), format))
	out, err := exec.Command("qemu-img", append(append([]string{"create", "-q", "-f", format}, more...), path, "16M")...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("qemu-img: %v: %s", err, out)
	}
	return path
}

// consoleSays waits until a guest has said a text on its console.
func (h site) consoleSays(name, text string) {
	h.t.Helper()
	h.until(fmt.Sprintf("%s says %q", name, text), func() bool { return strings.Contains(h.console(name), text) })
}

// console is what a guest has said, as far as it is kept.
func (h site) console(name string) string {
	h.t.Helper()
	if err := h.Harvest(name); err != nil {
		h.t.Fatal(err)
	}
	b, _ := os.ReadFile(h.ConsoleLog(name)) // not there yet: nothing was said
	old, _ := os.ReadFile(h.ConsoleLogOld(name))
	return string(old) + string(b)
}

// ready waits until a guest hears the power button.
func (h site) ready(name string) { h.t.Helper(); h.consoleSays(name, "guest ready") }

// status asks for one guest.
func (h site) status(name string) vm.Status {
	h.t.Helper()
	return h.Status(h.within(), []string{name})[0]
}

// wantState compares a status with what it should be.
func (h site) wantState(name string, state vm.StateWord, note string) vm.Status {
	h.t.Helper()
	s := h.status(name)
	for deadline := time.Now().Add(20 * time.Second); state == vm.StateRunning && s.State == vm.StateWedged && time.Now().Before(deadline); {
		s = h.status(name) // on a busy machine QEMU may not answer within status's 200 ms
	}
	if s.State != state || s.Note != note || s.Err != nil {
		h.t.Errorf("%s is %s %q (%v), want %s %q", name, s.State, s.Note, s.Err, state, note)
	}
	return s
}

// stop stops a guest.
func (h site) stop(s *vm.Spec, o vm.StopOptions) *vm.Stopped {
	h.t.Helper()
	st, err := h.Stop(h.within(), s, o)
	if err != nil {
		h.t.Fatalf("stop %s: %v", s.Name, err)
	}
	return st
}

var byForce = vm.StopOptions{Force: true}

// nothingLeft makes sure that no process, mount or run directory of a guest is there.
func (h site) nothingLeft(name string) {
	h.t.Helper()
	if isThere(h.RunDir(name)) {
		h.t.Errorf("%s is still there", h.RunDir(name))
	}
	if m := h.mounts(); len(m) > 0 {
		h.t.Errorf("still mounted: %q", m)
	}
	if abi, err := vm.LoadABI(h.ABILock(name)); err == nil {
		if pids := h.processes(h.UIDBase + abi.UID); len(pids) > 0 {
			h.t.Errorf("processes of the guest's uid: %v", pids)
		}
	}
}

// mounts gives the mount points below the root.
func (h site) mounts() (all []string) {
	h.t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], h.Root+"/") {
			all = append(all, f[1])
		}
	}
	return all
}

// processes gives the processes of a uid, the dead ones not.
func (h site) processes(uid int) (pids []string) {
	h.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), fmt.Sprintf("\nUid:\t%d\t", uid)) && !strings.Contains(string(b), "\nState:\tZ") {
			pids = append(pids, path)
		}
	}
	return pids
}

// signal sends a signal to a guest's QEMU.
func (h site) signal(name string, sig unix.Signal) {
	h.t.Helper()
	p := vmtest.Owner(h.t, h.Host, name)
	if p == nil {
		h.t.Fatalf("%s does not run", name)
	}
	defer p.Close()
	if err := p.Signal(sig); err != nil {
		h.t.Fatal(err)
	}
}

// tapRoom is a network namespace for TAPs, so that no test's names meet another's.
type tapRoom struct{ ns *os.File }

// newTapRoom makes one; its file keeps it.
func newTapRoom(t testing.TB) *tapRoom {
	t.Helper()
	r := &tapRoom{}
	t.Cleanup(func() {
		if r.ns != nil {
			r.ns.Close()
		}
	})
	if err := inThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		r.ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

// inThread runs f on a thread of its own, which ends with it.
func inThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// inside runs f in the namespace.
func (r *tapRoom) inside(f func() error) error {
	return inThread(func() error {
		if err := unix.Setns(int(r.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// open makes a TAP, or gives it one queue more.
func (r *tapRoom) open(name string, flags uint16) (f *os.File, err error) {
	err = r.inside(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | flags)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	})
	return f, err
}

// names gives the interfaces that there are beside lo.
func (r *tapRoom) names(t testing.TB) (names []string) {
	t.Helper()
	if err := r.inside(func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			if i.Name != "lo" {
				names = append(names, i.Name)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

// network opens a TAP for each queue of each NIC.
func (r *tapRoom) network(_ context.Context, s *vm.Spec, _ int) ([][]*os.File, error) {
	var all [][]*os.File
	for _, n := range s.NICs {
		flags := uint16(0)
		if n.Queues > 1 {
			flags = unix.IFF_MULTI_QUEUE
		}
		var queues []*os.File
		for range n.Queues {
			f, err := r.open(fmt.Sprintf("kvtest.%d", n.Number), flags)
			if err != nil {
				return nil, err
			}
			queues = append(queues, f)
		}
		all = append(all, queues)
	}
	return all, nil
}
