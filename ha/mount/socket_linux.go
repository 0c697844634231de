package mount

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A socket that is bound to a name holds the file system in which the name lies, as does each connection that was accepted from it, and neither
// shows under the descriptors. unix_diag(7) tells their file systems, one network namespace at a time.

// sockets gives the bound sockets of the processes' network namespaces whose names lie on the device, by inode.
func sockets(pids []int, dev number) map[uint64]string {
	all := make(map[uint64]string)
	spaces := make(map[string]string)
	for _, pid := range pids {
		path := "/proc/" + strconv.Itoa(pid) + "/ns/net"
		if id, err := os.Readlink(path); err == nil {
			spaces[id] = path
		}
	}
	aside(func(int) {
		own, _ := os.Readlink("/proc/thread-self/ns/net")
		delete(spaces, own)
		_ = dumpSockets(dev, all) // without: its sockets' file systems are not known, and umount(2) says that they are busy
		for _, path := range spaces {
			if enter(path, unix.CLONE_NEWNET) == nil {
				_ = dumpSockets(dev, all)
			}
		}
	})
	return all
}

// From linux/sock_diag.h and linux/unix_diag.h.
const (
	sockDiagByFamily = 20
	diagShowName     = 1
	diagShowVFS      = 2
)

// maxDump bounds the answers of one namespace, in bytes.
const maxDump = 64 << 20

// dumpSockets asks the network namespace of the calling thread.
func dumpSockets(dev number, all map[uint64]string) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	_ = unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2})
	request := make([]byte, unix.NLMSG_HDRLEN+24)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := request[unix.NLMSG_HDRLEN:] // struct unix_diag_req
	body[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(body[4:], ^uint32(0)) // all states
	binary.NativeEndian.PutUint32(body[12:], diagShowName|diagShowVFS)
	if err := unix.Sendto(s, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for total := 0; total < maxDump; {
		n, _, err := unix.Recvfrom(s, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return nil
		}
		total += n
		if done := parseSockets(buf[:n], dev, all); done {
			return nil
		}
	}
	return nil
}
