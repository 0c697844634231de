package peer

import (
	"errors"
	"net/netip"
)

// Port is the channel's (TCP) and the heartbeat's (UDP). IANA has assigned it to nobody.
const Port = 4694

// Role is what a node is to this one.
type Role string

// The roles, as the file writes them.
const (
	Member  Role = "member"  // it may serve the groups
	Arbiter Role = "arbiter" // it says which of two members may go on alone
)

// Node is another agent: where it is, and by what it is known.
type Node struct {
	Name      string
	Key       PublicKey // zero: not paired yet, nobody is accepted under this name
	Next      PublicKey // accepted too, while the node changes its key: what it sends may be of either; zero: none. A Handler sees none: Key is the proved one
	Addresses []netip.AddrPort
	Role      Role
}

// knownBy reports whether a key that signed a handshake is this node's.
func (n Node) knownBy(sign [32]byte) bool {
	return !n.Key.IsZero() && n.Key.Sign == sign || !n.Next.IsZero() && n.Next.Sign == sign
}

// ErrBadName says that something is not called as a node can be.
var ErrBadName = errors.New("a node's name has 1 to 63 letters, digits, dots, _ and -, and begins with a letter or a digit")

// ValidName reports whether a node may be called so: the name becomes that of a file.
func ValidName(name string) bool {
	if name == "" || len(name) > 63 {
		return false
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}
