package netbridge_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

var (
	lanMAC    = units.MAC{0x52, 0x54, 0, 0xdd, 0, 9}
	broadcast = units.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = units.MAC{0x33, 0x33, 0, 0, 0, 1} // of IPv6's neighbour discovery
)

// testEther is the type of the tests' frames (IEEE 802, local experimental): nothing else sends it.
const testEther = 0x88b5

// station is one that sends and receives frames: a guest behind its TAP, or a machine on the LAN.
type station interface {
	send(t testing.TB, frame []byte)
	// next gives the next frame of the tests', without a VLAN tag, and the tag's id; nil after the time is over.
	next(t testing.TB, within time.Duration) (frame []byte, vlan int)
}

// frame is an Ethernet frame with a text; vlan 0 is no tag.
func frame(to, from units.MAC, vlan int, text string) []byte {
	f := append(append([]byte{}, to[:]...), from[:]...)
	if vlan > 0 {
		f = append(f, 0x81, 0, byte(vlan>>8), byte(vlan))
	}
	f = binary.BigEndian.AppendUint16(f, testEther)
	f = append(f, text...)
	return append(f, make([]byte, max(0, 60-len(f)))...) // Ethernet's least
}

// vnetHeader is the length of the virtio-net header before a TAP's frames, until QEMU sets another.
const vnetHeader = 10

type guest struct{ f *os.File }

func (g guest) send(t testing.TB, frame []byte) {
	t.Helper()
	if _, err := g.f.Write(append(make([]byte, vnetHeader), frame...)); err != nil {
		t.Fatal(err)
	}
}

func (g guest) next(t testing.TB, within time.Duration) ([]byte, int) {
	t.Helper()
	return receive(t, int(g.f.Fd()), within, func(buf []byte) ([]byte, int) {
		n, err := g.f.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return untag(buf[vnetHeader:n])
	})
}

// machine is a packet socket on an interface.
type machine struct{ fd, index int }

func onLAN(t testing.TB, name string) machine {
	t.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		t.Fatal(err)
	}
	return machine{fd, ifi.Index}
}

func (m machine) send(t testing.TB, frame []byte) {
	t.Helper()
	if _, err := unix.Write(m.fd, frame); err != nil {
		t.Fatal(err)
	}
}

func (m machine) next(t testing.TB, within time.Duration) ([]byte, int) {
	t.Helper()
	return receive(t, m.fd, within, func(buf []byte) ([]byte, int) {
		oob := make([]byte, 256)
		n, oobn, _, from, err := unix.Recvmsg(m.fd, buf, oob, 0)
		if err != nil {
			t.Fatal(err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			return nil, 0
		}
		f, vlan := untag(buf[:n])
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range msgs {
			// struct tpacket_auxdata: status u32 first, vlan_tci u16 at 16
			if c.Header.Type == unix.PACKET_AUXDATA && binary.NativeEndian.Uint32(c.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
				vlan = int(binary.NativeEndian.Uint16(c.Data[16:]) & 0xfff)
			}
		}
		return f, vlan
	})
}

// receive reads until a frame of the tests' came.
func receive(t testing.TB, fd int, within time.Duration, read func([]byte) ([]byte, int)) ([]byte, int) {
	t.Helper()
	buf := make([]byte, 70000)
	for end := time.Now().Add(within); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil, 0
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			t.Fatal(err)
		} else if n != 1 {
			continue
		}
		if f, vlan := read(buf); len(f) >= 14 && binary.BigEndian.Uint16(f[12:]) == testEther {
			return f, vlan
		}
	}
}

// untag takes a VLAN tag out of a frame.
func untag(f []byte) ([]byte, int) {
	if len(f) < 18 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_8021Q {
		return f, 0
	}
	return append(append([]byte{}, f[:12]...), f[16:]...), int(binary.BigEndian.Uint16(f[14:]) & 0xfff)
}

// heard gives what a station hears up to the frame with the text "end", which has to come: a frame that was sent before and is not
// among them was dropped.
func heard(t testing.TB, s station) []string {
	t.Helper()
	var texts []string
	for {
		f, vlan := s.next(t, patience)
		if f == nil {
			t.Fatalf("the last frame did not come within %v; heard %q", patience, texts)
		}
		text := string(bytes.TrimRight(f[14:], "\x00"))
		if text == "end" {
			return texts
		}
		if vlan > 0 {
			text = fmt.Sprintf("%s in VLAN %d", text, vlan)
		}
		texts = append(texts, text)
	}
}

// plantLAN makes the bridge's link to the outside, and gives a machine there.
func (w *world) plantLAN(t testing.TB) machine {
	t.Helper()
	if err := w.Plant(netbridge.Link{Name: "p0", Kind: "veth", Master: "br0", Up: true}); err != nil {
		t.Fatal(err)
	}
	peer, err := w.admin.LinkByName("p0x")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.admin.LinkSetUp(peer); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link has a carrier", func() bool { return w.get(t, "p0").Running })
	return onLAN(t, "p0x")
}
