package link

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTheEndOfOneReceiveDoesNotEndTheNext has a context end just when a frame comes, over and over: what the context's end does to the socket must be over
// when receive is. It was seen on a busy machine: a promote failed, its question being cut short by that of before.
func TestTheEndOfOneReceiveDoesNotEndTheNext(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	s := &packetSocket{name: "eth0", file: os.NewFile(uintptr(fds[0]), "packet socket")}
	defer s.close()
	if s.raw, err = s.file.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	send := func() {
		if _, err := unix.Write(fds[1], []byte("frame")); err != nil {
			t.Error(err)
		}
	}
	buf := make([]byte, 64)
	for range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Microsecond, cancel)
		time.Sleep(20 * time.Microsecond)
		send()
		if _, err := s.receive(ctx, buf); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		} else if err != nil { // the frame waits yet
			_, _ = s.receive(t.Context(), buf)
		}
		cancel()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			time.Sleep(50 * time.Microsecond)
			send()
		}()
		_, err := s.receive(t.Context(), buf)
		<-sent
		if err != nil {
			t.Fatalf("cut short: %v", err)
		}
	}
}
