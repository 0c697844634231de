package netbridge

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// What a filter with direct action gives (linux/pkt_cls.h).
const (
	actUnspec = 0xffffffff // TC_ACT_UNSPEC: ask the next filter, and let pass after the last
	actShot   = 2          // TC_ACT_SHOT: drop
)

// sourceFilter is a classic BPF program over an Ethernet frame that drops whatever is not from one of the addresses.
func sourceFilter(sources []units.MAC) []unix.SockFilter {
	var prog []unix.SockFilter
	for _, m := range sources { // five instructions each: 511 addresses stay below BPF_MAXINSNS (4096)
		prog = append(prog,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 6}, // the source address begins after the destination's six bytes
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(m[:4]), Jf: 3},
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 10},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(binary.BigEndian.Uint16(m[4:])), Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: actUnspec},
		)
	}
	return append(prog, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: actShot})
}
