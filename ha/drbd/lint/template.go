package lint

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Resource is what a template needs to know.
type Resource struct {
	Name     string
	Minor    int // of /dev/drbd<minor>, on both nodes
	MetaDisk string
	Secret   string // of up to 63 letters and digits
	Nine     bool   // for DRBD 9; 8.4 otherwise
	Nodes    [2]Node
}

// Node is one of the two.
type Node struct {
	Name    string // as uname -n has it
	Address netip.AddrPort
	Disk    string
}

// ArgumentError is a part of a Resource that no file can have.
type ArgumentError struct{ What, Why string }

func (e *ArgumentError) Error() string { return e.What + ": " + e.Why }

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	plainDisk = regexp.MustCompile(`^/dev/[A-Za-z0-9/._-]{1,120}$`)
	plainWord = regexp.MustCompile(`^[A-Za-z0-9]{1,63}$`)
)

func (r Resource) check() error {
	switch {
	case !plainName.MatchString(r.Name) || r.Name == "all":
		return &ArgumentError{"the resource's name", "letters, digits, . _ and -, and not all"}
	case r.Minor < 0 || r.Minor >= 1<<20:
		return &ArgumentError{"the device", "/dev/drbd0 to /dev/drbd1048575"}
	case r.MetaDisk != "internal" && !plainDisk.MatchString(r.MetaDisk):
		return &ArgumentError{"the meta-disk", `"internal" or a path below /dev, without spaces`}
	case !plainWord.MatchString(r.Secret):
		return &ArgumentError{"the secret", "letters and digits, at most 63"}
	case r.Nodes[0].Name == r.Nodes[1].Name:
		return &ArgumentError{"the nodes", "both have one name"}
	case r.Nodes[0].Address.Addr() == r.Nodes[1].Address.Addr():
		return &ArgumentError{"the nodes", "both have one address"}
	case r.Nodes[0].Address.Addr().Is4() != r.Nodes[1].Address.Addr().Is4():
		return &ArgumentError{"the nodes", "one has an IPv4 address and the other one of IPv6"}
	}
	for _, n := range r.Nodes {
		switch {
		case !plainName.MatchString(n.Name):
			return &ArgumentError{"a node's name", "letters, digits, . _ and -"}
		case !n.Address.IsValid() || n.Address.Port() == 0 || n.Address.Addr().IsUnspecified() || n.Address.Addr().IsMulticast():
			return &ArgumentError{"a node's address", "one of its own, with a port"}
		case !plainDisk.MatchString(n.Disk):
			return &ArgumentError{"a disk", "a path below /dev, without spaces"}
		}
	}
	return nil
}

// Template writes a resource for two nodes in which Lint finds nothing and that drbdadm takes.
func Template(r Resource) (string, error) {
	if err := r.check(); err != nil {
		return "", fmt.Errorf("write a resource: %w", err)
	}
	version, inNet, inDisk, unfence := "8.4", "", "fencing resource-and-stonith;", "after-resync-target"
	if r.Nine {
		version, inNet, inDisk, unfence = "9", inDisk, "", "unfence-peer"
	}
	fencing := func(line string) string {
		if line == "" {
			return ""
		}
		return "\t\t" + line + " # writes wait until the peer is out of the way or back\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# /etc/drbd.d/%s.res, the same on both nodes, of DRBD %s; mode 0600: it holds a secret.\n", r.Name, version)
	fmt.Fprintf(&b, "resource %q {\n", r.Name)
	b.WriteString("\tnet {\n\t\tprotocol C; # what is acknowledged is on both disks\n\t\tcram-hmac-alg sha256;\n")
	fmt.Fprintf(&b, "\t\tshared-secret %q;\n", r.Secret)
	b.WriteString(fencing(inNet) + `		after-sb-0pri discard-zero-changes; # by itself only where one side wrote nothing
		after-sb-1pri consensus;
		after-sb-2pri disconnect;
		rr-conflict disconnect;
		verify-alg crc32c;
		ping-int 3; # seconds until an idle primary misses its peer
		timeout 20; # tenths of a second
	}
	disk {
` + fencing(inDisk) + `		on-io-error detach;
		resync-rate 33M; # bytes a second: a third of a gigabit link
		c-max-rate 33M;
		c-min-rate 8M; # also while the disk is in use: by DRBD's own 250K a TB takes weeks, without a second copy
	}
	handlers {
		fence-peer "/usr/local/bin/kvmha fence-peer";
		before-resync-target "/usr/local/bin/kvmha before-resync";
		` + unfence + ` "/usr/local/bin/kvmha unfence";
		split-brain "/usr/local/bin/kvmha split-brain";
	}
	startup {
		wfc-timeout 0; # nobody begins without the peer by the clock
		degr-wfc-timeout 0;
	}
`)
	if r.Nine {
		b.WriteString("\toptions {\n\t\tauto-promote no; # kvmha promotes\n\t}\n")
	}
	fmt.Fprintf(&b, "\tdevice /dev/drbd%d;\n\tmeta-disk %s;\n", r.Minor, r.MetaDisk)
	for i, n := range r.Nodes {
		address := "ipv4 " + n.Address.String()
		if n.Address.Addr().Is6() {
			address = "ipv6 " + n.Address.String()
		}
		fmt.Fprintf(&b, "\ton %q {\n", n.Name)
		if r.Nine {
			fmt.Fprintf(&b, "\t\tnode-id %d;\n", i)
		}
		fmt.Fprintf(&b, "\t\tdisk %s;\n\t\taddress %s;\n\t}\n", n.Disk, address)
	}
	b.WriteString("}\n")
	return b.String(), nil
}
