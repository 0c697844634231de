package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watchBuffer is how many events wait for their reader. Beyond that the kernel keeps them, and when it cannot any more, Rescan comes.
const watchBuffer = 256

// Watcher tells what happens to interfaces and addresses.
type Watcher struct {
	Events <-chan Event // closed when the watch is over

	events chan Event
	socket *rtnl // with the subscription
	asker  *rtnl // for lists
	wake   [2]int
	quit   chan struct{}
	stop   func()
	done   sync.WaitGroup
	err    error
	names  map[int]string
}

// Watch begins to watch the calling thread's network namespace. The first events are the state of each interface. Close ends it.
func Watch() (*Watcher, error) {
	socket, err := openRTNL(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err != nil {
		return nil, err
	}
	asker, err := openRTNL(0)
	if err != nil {
		socket.close()
		return nil, err
	}
	w := &Watcher{events: make(chan Event, watchBuffer), socket: socket, asker: asker, quit: make(chan struct{}), names: map[int]string{}}
	if err := unix.Pipe2(w.wake[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		socket.close()
		asker.close()
		return nil, os.NewSyscallError("pipe", err)
	}
	w.Events = w.events
	w.stop = sync.OnceFunc(func() { close(w.quit); unix.Close(w.wake[1]) })
	w.done.Go(func() {
		defer close(w.events)
		if w.err = w.states(); w.err == nil {
			w.err = w.run()
		}
	})
	return w, nil
}

// Close ends the watch, waits for its end, and gives the error that had ended it before, if any.
func (w *Watcher) Close() error {
	w.stop()
	w.done.Wait()
	w.socket.close()
	w.asker.close()
	unix.Close(w.wake[0])
	return w.err
}

// Err is, once Events is closed, what ended the watch; nil: Close did.
func (w *Watcher) Err() error {
	w.done.Wait()
	return w.err
}

func (w *Watcher) run() error {
	for {
		fds := []unix.PollFd{{Fd: int32(w.socket.fd), Events: unix.POLLIN}, {Fd: int32(w.wake[0]), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		select {
		case <-w.quit:
			return nil
		default:
		}
		n, from, err := unix.Recvfrom(w.socket.fd, w.socket.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS) || err == nil && n > len(w.socket.buf):
			w.tell(Rescan{})
			if err := w.states(); err != nil {
				return err
			}
			continue
		case err != nil:
			return os.NewSyscallError("receive from the kernel", err)
		}
		if k, ok := from.(*unix.SockaddrNetlink); !ok || k.Pid != 0 {
			continue
		}
		if err := eachMessage(w.socket.buf[:n], w.message); err != nil {
			return err
		}
	}
}

// tell waits for the reader; that it is slow is the kernel's business, which counts what it cannot keep.
func (w *Watcher) tell(e Event) {
	select {
	case w.events <- e:
	case <-w.quit:
	}
}

// states tells the state of each interface, and of those that are gone.
func (w *Watcher) states() error {
	var all []State
	err := w.asker.dump(unix.RTM_GETLINK, unix.AF_UNSPEC, func() { all = nil }, func(body []byte) error {
		s, err := parseLink(body)
		if err == nil {
			all = append(all, s)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	before := w.names
	w.names = map[int]string{}
	for _, s := range all {
		w.names[s.Index] = s.Interface
		delete(before, s.Index)
	}
	for index, name := range before {
		w.tell(State{Interface: name, Index: index, Gone: true})
	}
	for _, s := range all {
		w.tell(s)
	}
	return nil
}

// message makes an event of a message. What it does not understand is no event: it was a change of something else.
func (w *Watcher) message(m reply) {
	switch m.typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.body) > 0 && m.body[0] != unix.AF_UNSPEC { // of a bridge's port (AF_BRIDGE), which goes on
			return
		}
		s, err := parseLink(m.body)
		if err != nil {
			return
		}
		if old, ok := w.names[s.Index]; ok && old != s.Interface { // it was renamed
			w.tell(State{Interface: old, Index: s.Index, Gone: true})
		}
		w.names[s.Index] = s.Interface
		if m.typ == unix.RTM_DELLINK {
			delete(w.names, s.Index)
			s.Up, s.Carrier, s.Gone = false, false, true
		}
		w.tell(s)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		k, err := parseAddr(m.body)
		if err != nil {
			return
		}
		p := Present{w.names[k.index], k.index, k.prefix, k.leased()}
		switch {
		case m.typ == unix.RTM_DELADDR:
			w.tell(AddressRemoved{p})
		case k.hasCache && k.born == k.changed:
			w.tell(AddressAdded{p})
		}
	}
}

// parseLink reads the body of RTM_NEWLINK and RTM_DELLINK (struct ifinfomsg).
func parseLink(b []byte) (State, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return State{}, errShort
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	s := State{Index: int(int32(binary.NativeEndian.Uint32(b[4:]))), Up: flags&unix.IFF_UP != 0}
	s.Carrier = s.Up && flags&unix.IFF_LOWER_UP != 0
	err := attributes(b[unix.SizeofIfInfomsg:], func(typ uint16, data []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			s.Interface = string(cString(data))
		case unix.IFLA_ADDRESS:
			s.MAC = net.HardwareAddr(append([]byte(nil), data...))
		}
	})
	return s, err
}

// Lookup gives the state of one interface in the calling thread's network namespace. ENODEV: there is none.
func Lookup(name string) (State, error) {
	r, err := openRTNL(0)
	if err != nil {
		return State{}, err
	}
	defer r.close()
	s, err := r.lookup(name)
	if err != nil {
		return State{}, fmt.Errorf("find interface %q: %w", name, err)
	}
	return s, nil
}

func (r *rtnl) lookup(name string) (s State, err error) {
	err = r.getLink(name, func(body []byte) (err error) {
		s, err = parseLink(body)
		return err
	})
	return s, err
}

// getLink asks for one interface and gives the body of RTM_NEWLINK to f.
func (r *rtnl) getLink(name string, f func(body []byte) error) error {
	seq := r.nextSeq()
	m := message(unix.RTM_GETLINK, 0, seq)
	m = append(m, make([]byte, unix.SizeofIfInfomsg)...)
	m = attribute(m, unix.IFLA_IFNAME, append([]byte(name), 0)...)
	if err := r.send(finish(m)); err != nil {
		return err
	}
	var verdict error
	err := r.receive(func(m reply) bool {
		if m.seq != seq {
			return false
		}
		if verdict = m.err; m.typ == unix.RTM_NEWLINK {
			verdict = f(m.body)
		}
		return true
	})
	return errors.Join(err, verdict)
}

// cString cuts a text at its zero byte.
func cString(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}
