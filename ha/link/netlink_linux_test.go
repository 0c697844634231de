package link

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A lease as it goes to the kernel is one as it comes from there.
func TestLeaseMessage(t *testing.T) {
	for _, a := range []struct{ index int }{{2}, {70000}} {
		for _, addr := range []string{vip.String(), vip6.String()} {
			want := vip
			if addr != vip.String() {
				want = vip6
			}
			b := leaseMessage(unix.NLM_F_EXCL, 7, a.index, want, 2*time.Second)
			if int(binary.NativeEndian.Uint32(b)) != len(b) {
				t.Errorf("length %d of %d", binary.NativeEndian.Uint32(b), len(b))
			}
			k, err := parseAddr(b[unix.SizeofNlMsghdr:])
			if err != nil || k.prefix.Addr() != want || !k.prefix.IsSingleIP() || k.index != a.index || k.valid != 2 || !k.leased() {
				t.Errorf("%+v, %v", k, err)
			}
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(leaseMessage(unix.NLM_F_EXCL, 7, 2, vip, time.Second))
	f.Add(leaseMessage(unix.NLM_F_REPLACE, 7, 2, vip6, time.Second))
	f.Add(finish(attribute(append(message(unix.RTM_NEWLINK, 0, 1), make([]byte, unix.SizeofIfInfomsg)...), unix.IFLA_IFNAME, []byte("eth0\x00")...)))
	f.Add(finish(append(message(unix.NLMSG_ERROR, 0, 1), 0xed, 0xff, 0xff, 0xff)))
	f.Add(finish(attribute(neighbourMessage(message(unix.RTM_NEWNEIGH, 0, 1), 2, unix.NUD_REACHABLE, 0, vip6), unix.NDA_LLADDR, 2, 0, 0, 0, 0, 1)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = eachMessage(b, func(m reply) {
			_, _ = parseAddr(m.body)
			_, _ = parseLink(m.body)
			_, _ = parseNeighbour(m.body)
			_, _ = parseFrames(m.body)
			_, _, _ = parseRoute(m.body)
		})
	})
}
