package mount

import (
	"bytes"
	"encoding/binary"
)

// From linux/netlink.h and linux/unix_diag.h.
const (
	netlinkHeader = 16
	netlinkError  = 2
	netlinkDone   = 3
	unixDiagMsg   = 16 // the length of struct unix_diag_msg
	attrName      = 0
	attrVFS       = 1
)

// parseSockets reads a datagram of answers about sockets and adds those whose names lie on the device, with their names; done: there is no
// further datagram.
func parseSockets(b []byte, dev number, all map[uint64]string) (done bool) {
	for len(b) >= netlinkHeader {
		n := int(binary.NativeEndian.Uint32(b))
		kind := binary.NativeEndian.Uint16(b[4:])
		if n < netlinkHeader || n > len(b) || kind == netlinkDone || kind == netlinkError {
			return true
		}
		if body := b[netlinkHeader:n]; len(body) >= unixDiagMsg {
			inode := binary.NativeEndian.Uint32(body[4:])
			if name, on := parseSocket(body[unixDiagMsg:]); on == dev {
				all[uint64(inode)] = name
			}
		}
		b = b[min(align(n), len(b)):]
	}
	return false
}

// parseSocket reads the attributes of a socket: its name and the device of the file system where this lies. The kernel's own form of a device
// number has 20 bits for the minor.
func parseSocket(b []byte) (name string, dev number) {
	for len(b) >= 4 {
		n, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < 4 || n > len(b) {
			return name, dev
		}
		switch value := b[4:n]; {
		case kind == attrName:
			value, _, _ = bytes.Cut(value, []byte{0})
			name = string(value)
		case kind == attrVFS && len(value) >= 8:
			d := binary.NativeEndian.Uint32(value[4:])
			dev = number{d >> 20, d & (1<<20 - 1)}
		}
		b = b[min(align(n), len(b)):]
	}
	return name, dev
}

// align is the beginning of what follows n bytes of netlink.
func align(n int) int { return (n + 3) &^ 3 }
