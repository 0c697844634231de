package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Hears gives how many frames have come in on an interface since it was made, and the gateways on its network. ENODEV: there is no such interface.
func Hears(name string) (frames uint64, gateways []netip.Addr, err error) {
	r, err := openRTNL(0)
	if err != nil {
		return 0, nil, err
	}
	defer r.close()
	index := 0
	err = r.getLink(name, func(body []byte) error {
		s, err := parseLink(body)
		if err == nil {
			index = s.Index
			frames, err = parseFrames(body)
		}
		return err
	})
	if err != nil {
		return 0, nil, fmt.Errorf("count the frames of %s: %w", name, err)
	}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		var found []netip.Addr
		err := r.dump(unix.RTM_GETROUTE, family, func() { found = nil }, func(body []byte) error {
			via, out, err := parseRoute(body)
			if err == nil && out == index && via.IsValid() && !slices.Contains(found, via) {
				found = append(found, via)
			}
			return err
		})
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a kernel without IPv6
			return 0, nil, fmt.Errorf("list the gateways of %s: %w", name, err)
		}
		gateways = append(gateways, found...)
	}
	return frames, gateways, nil
}

// parseFrames reads the count of frames that came in from the body of RTM_NEWLINK (struct rtnl_link_stats64, rx_packets).
func parseFrames(b []byte) (n uint64, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return 0, errShort
	}
	err = attributes(b[unix.SizeofIfInfomsg:], func(typ uint16, data []byte) {
		if typ == unix.IFLA_STATS64 && len(data) >= 8 {
			n = binary.NativeEndian.Uint64(data)
		}
	})
	return n, err
}

// parseRoute reads the gateway and the interface of a route in the main table from the body of RTM_NEWROUTE (struct rtmsg); no gateway: it has
// none, or is of another table.
func parseRoute(b []byte) (via netip.Addr, out int, err error) {
	if len(b) < unix.SizeofRtMsg {
		return via, 0, errShort
	}
	main := b[4] == unix.RT_TABLE_MAIN
	err = attributes(b[unix.SizeofRtMsg:], func(typ uint16, data []byte) {
		switch {
		case typ == unix.RTA_GATEWAY && main:
			via, _ = netip.AddrFromSlice(data)
		case typ == unix.RTA_OIF && len(data) >= 4:
			out = int(int32(binary.NativeEndian.Uint32(data)))
		}
	})
	return via, out, err
}
