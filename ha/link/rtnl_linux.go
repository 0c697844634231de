package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// answerTime bounds the wait for the kernel's answers. It has given them before send returns; the bound is for the day it does not.
const answerTime = time.Second

// rtnl is a socket to the kernel's network configuration, in the network namespace of the thread that opened it. One goroutine uses it.
type rtnl struct {
	fd  int
	seq uint32
	buf []byte
}

// openRTNL opens one; groups are the RTMGRP_… to hear.
func openRTNL(groups uint32) (*rtnl, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("open a netlink socket", err)
	}
	// Answers to hundreds of addresses come at once. Without CAP_NET_ADMIN, which every change needs anyway, it is the default size.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind a netlink socket", err)
	}
	return &rtnl{fd: fd, buf: make([]byte, 1<<16)}, nil
}

func (r *rtnl) close() { unix.Close(r.fd) }

// nextSeq numbers a message.
func (r *rtnl) nextSeq() uint32 {
	r.seq++
	return r.seq
}

// send gives messages to the kernel in one go. It has done them when this returns.
func (r *rtnl) send(messages []byte) error {
	return os.NewSyscallError("send to the kernel", unix.Sendto(r.fd, messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// reply is one message of the kernel's.
type reply struct {
	typ   uint16
	flags uint16
	seq   uint32
	err   error  // of NLMSG_ERROR: a unix.Errno
	body  []byte // valid until the next receive
}

// receive reads what is there and gives each message to f, until f is satisfied. It waits at most answerTime altogether.
func (r *rtnl) receive(f func(reply) (done bool)) error {
	for end := time.Now().Add(answerTime); ; {
		n, from, err := unix.Recvfrom(r.fd, r.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			left := time.Until(end)
			if left <= 0 {
				return fmt.Errorf("wait for the kernel's answer: %w", os.ErrDeadlineExceeded)
			}
			fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
				return os.NewSyscallError("poll", err)
			}
			continue
		case err != nil:
			return os.NewSyscallError("receive from the kernel", err)
		case n > len(r.buf):
			return fmt.Errorf("a netlink message of %d bytes", n)
		}
		if k, ok := from.(*unix.SockaddrNetlink); !ok || k.Pid != 0 {
			continue // another process may send to this socket, too
		}
		done := false
		err = eachMessage(r.buf[:n], func(m reply) {
			if f(m) {
				done = true
			}
		})
		if err != nil || done {
			return err
		}
	}
}

// eachMessage splits what one receive gave (struct nlmsghdr).
func eachMessage(b []byte, f func(reply)) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return errShort
		}
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return errShort
		}
		m := reply{
			typ: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
			seq: binary.NativeEndian.Uint32(b[8:]), body: b[unix.SizeofNlMsghdr:size],
		}
		if m.typ == unix.NLMSG_ERROR {
			if len(m.body) < 4 {
				return errShort
			}
			if no := -int32(binary.NativeEndian.Uint32(m.body)); no != 0 {
				m.err = unix.Errno(no)
			}
		}
		f(m)
		b = b[min(len(b), align(size)):]
	}
	return nil
}

// ask sends one message that asks for an acknowledgement, and gives the kernel's errno.
func (r *rtnl) ask(m []byte, seq uint32) error {
	if err := r.send(m); err != nil {
		return err
	}
	var verdict error
	err := r.receive(func(m reply) bool {
		if m.seq != seq || m.typ != unix.NLMSG_ERROR {
			return false
		}
		verdict = m.err
		return true
	})
	return errors.Join(err, verdict)
}

// dumpTries bounds how often a list is read again because it changed while it was read.
const dumpTries = 20

// dump asks for a list and gives each message of it to f; begin is called before the first, and again when the list changed meanwhile.
func (r *rtnl) dump(typ int, family byte, begin func(), f func(body []byte) error) error {
	for range dumpTries {
		begin()
		seq := r.nextSeq()
		m := message(typ, unix.NLM_F_DUMP, seq)
		m = append(m, make([]byte, unix.SizeofIfInfomsg)...) // struct ifaddrmsg is shorter, and its first byte is the family, too
		m[unix.SizeofNlMsghdr] = family
		if err := r.send(finish(m)); err != nil {
			return err
		}
		var verdict error
		torn := false
		if err := r.receive(func(m reply) bool {
			if m.seq != seq {
				return false
			}
			torn = torn || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_DONE:
				return true
			case unix.NLMSG_ERROR:
				verdict = m.err
				return true
			}
			if err := f(m.body); err != nil && verdict == nil {
				verdict = err
			}
			return false
		}); err != nil {
			return err
		}
		if verdict != nil || !torn {
			return verdict
		}
	}
	return errors.New("the list changed each time that it was read")
}
