package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kvmctl/internal/smallfile"
)

// The numbers of the kernel's interface (include/uapi/linux/nbd-netlink.h).
const (
	cmdConnect    = 1
	cmdDisconnect = 2

	attrIndex     = 1
	attrSize      = 2
	attrBlockSize = 3
	attrTimeout   = 4
	attrFlags     = 5
	attrSockets   = 7
	attrBackend   = 10 // Linux 5.14
	sockItem      = 1
	sockFD        = 1
	familyVersion = 1
)

// requestTime is how long the kernel waits for the answer to one request before it gives the connection up, which fails that request and all
// after it. Without a limit a request that was under way when the server died would be waited for until somebody disconnects the device
// (drivers/block/nbd.c, nbd_xmit_timeout). A disk that is alive answers far sooner.
const requestTime = 3 * time.Minute

// blockSize is the devices', in bytes: the smallest there is, because partitions begin and end at any of them.
const blockSize = 512

// NoKernelError says that this kernel cannot make a block device of what an NBD server shows.
type NoKernelError struct{ Reason string }

func (e *NoKernelError) Error() string { return e.Reason }

// Hint says how to get one that can. Without max_part the kernel would look for partitions and show them to the whole host.
func (e *NoKernelError) Hint() string { return "modprobe nbd max_part=0" }

// Path is the device file of device n.
func Path(n int) string { return "/dev/" + name(n) }

func name(n int) string { return "nbd" + strconv.Itoa(n) }

// Available tells whether the kernel has the driver loaded, by a *NoKernelError if not.
func Available() error {
	_, err := family()
	return err
}

// family asks for the number that the driver has on generic netlink.
func family() (uint16, error) {
	req := nl.NewNetlinkRequest(nl.GENL_ID_CTRL, 0)
	req.AddData(&nl.Genlmsg{Command: nl.GENL_CTRL_CMD_GETFAMILY, Version: nl.GENL_CTRL_VERSION})
	req.AddData(nl.NewRtAttr(nl.GENL_CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated("nbd")))
	msgs, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if errors.Is(err, unix.ENOENT) {
		return 0, &NoKernelError{"the kernel's module nbd is not loaded"}
	}
	if err != nil {
		return 0, fmt.Errorf("ask the kernel for nbd: %w", err)
	}
	id, err := attribute(msgs, nl.GENL_CTRL_ATTR_FAMILY_ID, 2)
	if err != nil {
		return 0, fmt.Errorf("ask the kernel for nbd: %w", err)
	}
	return binary.NativeEndian.Uint16(id), nil
}

// request asks the driver for something.
func request(command uint8, flags int, attrs ...*nl.RtAttr) ([][]byte, error) {
	id, err := family()
	if err != nil {
		return nil, err
	}
	req := nl.NewNetlinkRequest(int(id), flags)
	req.AddData(&nl.Genlmsg{Command: command, Version: familyVersion})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req.Execute(unix.NETLINK_GENERIC, 0)
}

// attribute finds an attribute of so many bytes in the kernel's answer.
func attribute(msgs [][]byte, kind uint16, size int) ([]byte, error) {
	for _, m := range msgs {
		if len(m) < nl.SizeofGenlmsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return nil, fmt.Errorf("read the kernel's answer: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == kind && len(a.Value) == size {
				return a.Value, nil
			}
		}
	}
	return nil, fmt.Errorf("the kernel's answer has no attribute %d", kind)
}

func u32(kind int, v int) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.NativeEndian.AppendUint32(nil, uint32(v)))
}

func u64(kind int, v uint64) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.NativeEndian.AppendUint64(nil, v))
}

// Connect makes a block device of the export that was agreed on with the server at the other end of sock, and gives its number. The kernel
// chooses it, keeps the socket, and needs no process. The name id, of letters and digits, is written on the device, for Find. The device
// stays until Disconnect. Errors: *NoKernelError, those of the kernel.
func Connect(sock *os.File, e Export, id string) (n int, err error) {
	sockets := nl.NewRtAttr(unix.NLA_F_NESTED|attrSockets, nil)
	sockets.AddRtAttr(unix.NLA_F_NESTED|sockItem, nil).AddChild(u32(sockFD, int(sock.Fd())))
	msgs, err := request(cmdConnect, 0, u64(attrSize, uint64(e.Size)), u64(attrBlockSize, blockSize),
		u64(attrTimeout, uint64(requestTime/time.Second)), u64(attrFlags, uint64(e.Flags)), sockets,
		nl.NewRtAttr(attrBackend, nl.ZeroTerminated(backend(id))))
	if err != nil {
		return 0, fmt.Errorf("connect an nbd device: %w", err)
	}
	index, err := attribute(msgs, attrIndex, 4)
	if err != nil {
		return 0, fmt.Errorf("connect an nbd device: %w", err)
	}
	n = int(binary.NativeEndian.Uint32(index))
	if !isOf(n, id) {
		err := &NoKernelError{"this kernel's nbd devices carry no name of who made them (Linux before 5.14)"}
		return 0, errors.Join(err, Disconnect(n))
	}
	return n, nil
}

// Disconnect tells the server that this was all, fails what is still under way, and gives the device back. It does so too when the server
// is gone, and while the device is open: then it is free with its last user. One that is not connected is left so.
func Disconnect(n int) error {
	_, err := request(cmdDisconnect, unix.NLM_F_ACK, u32(attrIndex, n))
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // nbd_genl_disconnect: no such device, not in use
		return fmt.Errorf("disconnect %s: %w", Path(n), err)
	}
	return nil
}

func backend(id string) string { return "kvmctl:" + id }

// isOf tells whether device n carries the name id.
func isOf(n int, id string) bool {
	b, err := smallfile.Read("/sys/block/"+name(n)+"/backend", 4096)
	return err == nil && strings.TrimSpace(string(b)) == backend(id)
}

// Find gives the number of the device that was connected as id.
func Find(id string) (n int, ok bool) {
	paths, _ := filepath.Glob("/sys/block/nbd*/backend")
	for _, p := range paths {
		digits := strings.TrimPrefix(filepath.Base(filepath.Dir(p)), "nbd")
		if n, err := strconv.Atoi(digits); err == nil && isOf(n, id) {
			return n, true
		}
	}
	return 0, false
}
