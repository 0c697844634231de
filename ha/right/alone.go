package right

import (
	"errors"
	"fmt"
)

// Who is the key by which one of two nodes may go on when the other one cannot be asked.
type Who string

// The three keys. FAILOVER.md, safety 3.
const (
	ByName    Who = "name"    // the named node may; the other one only after a let-go, or on a person's word
	ByArbiter Who = "arbiter" // who wins the arbiter's record may
	ByFence   Who = "fence"   // whose fence answers may, and nobody while none does: both fences must not share their target's power or host
)

// AloneBy is a group's `alone = "…"`. The zero value is none, with which no storage is ever promoted without its peer.
type AloneBy struct {
	Who  Who
	Node string // of ByName
}

// ErrNoNode says that `alone` names neither of the two nodes.
var ErrNoNode = errors.New(`it names a node of the group, or is "arbiter" or "fence"`)

// ParseAlone reads the text of `alone` in a group of these nodes.
func ParseAlone(text string, nodes ...string) (AloneBy, error) {
	switch Who(text) {
	case ByArbiter, ByFence:
		return AloneBy{Who: Who(text)}, nil
	case ByName:
	}
	for _, n := range nodes {
		if text == n && n != "" {
			return AloneBy{ByName, n}, nil
		}
	}
	return AloneBy{}, fmt.Errorf("alone %q: %w", text, ErrNoNode)
}

// String is the text that ParseAlone reads.
func (a AloneBy) String() string {
	if a.Who == ByName {
		return a.Node
	}
	return string(a.Who)
}
