package vm

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxProcTCP bounds how much of the kernel's table of sockets is read, in bytes: 150 a line.
const maxProcTCP = 16 << 20

// listenerOf finds the process that listens on a TCP port in a way that keeps others from addr; 0: none is seen.
func listenerOf(addr netip.Addr, port uint16) int {
	var inodes []string
	// This thread's: /proc/net is that of the process's first thread, which may stand in another network namespace.
	for _, table := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // a kernel without IPv6
		}
		b, err := io.ReadAll(io.LimitReader(f, maxProcTCP))
		f.Close()
		if err == nil {
			inodes = append(inodes, parseListeners(string(b), addr, port)...)
		}
	}
	if len(inodes) == 0 {
		return 0
	}
	return processWith(inodes)
}

// parseListeners reads /proc/net/tcp or tcp6 (proc(5)) and gives the inodes of the listening sockets that stand in the way.
func parseListeners(table string, addr netip.Addr, port uint16) []string {
	const listening = "0A" // TCP_LISTEN, include/net/tcp_states.h
	var inodes []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line) // sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode
		if len(f) < 10 || f[3] != listening {
			continue
		}
		at, ok := parseProcAddr(f[1])
		if !ok || at.Port() != port {
			continue
		}
		if a := at.Addr().Unmap(); a == addr.Unmap() || a.IsUnspecified() || addr.IsUnspecified() {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}

// parseProcAddr reads "0100007F:170C": words of 32 bits in the host's order, and a port.
func parseProcAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || (len(b) != 4 && len(b) != 16) {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr, uint16(n)), ok
}

// processWith finds a process that has one of the sockets open; 0: it is in another pid namespace, or gone.
func processWith(inodes []string) int {
	var links []string
	for _, i := range inodes {
		links = append(links, "socket:["+i+"]")
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", e.Name(), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it ended
		}
		for _, fd := range fds {
			if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && slices.Contains(links, to) {
				return pid
			}
		}
	}
	return 0
}
