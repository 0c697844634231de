package check

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// connectsAtOnce tells whether a connection is there before the call is over. It never waits. On the same machine the kernel does the whole
// handshake within connect(2), whose second call then says so; a server whose queue is full, or one elsewhere, is not there yet.
func connectsAtOnce(at netip.AddrPort) bool {
	addr := at.Addr().Unmap()
	if addr.Zone() != "" {
		return false
	}
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(at.Port())})
	if addr.Is4() {
		to.(*unix.SockaddrInet4).Addr = addr.As4()
	} else {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: addr.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if err = unix.Connect(fd, to); err == unix.EINPROGRESS {
		err = unix.Connect(fd, to)
	}
	return err == nil
}
