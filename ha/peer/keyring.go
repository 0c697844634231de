package peer

import (
	"errors"
	"fmt"
	"reflect"
)

// Keyring is this node's key and the other nodes with theirs, as the directory of the keys has them. Its zero value is empty.
type Keyring struct {
	Identity *Identity // nil: there is none
	Nodes    []Node
}

// ReadKeyring reads the keys of this node and of the nodes in want. The error names what could not be used: a node whose key is not there, or not
// fit, has none in the keyring. That a node is not paired with is no error.
func ReadKeyring(dir string, want []Node) (Keyring, error) { return Keyring{}.Reread(dir, want) }

// Reread is ReadKeyring for who has read before. While the secret is the one of k, so is the identity: to make one costs half a millisecond of CPU, and
// an agent reads its keys each second.
func (k Keyring) Reread(dir string, want []Node) (Keyring, error) {
	var errs []error
	id, err := loadIdentity(dir, identityFile, k.Identity)
	k = Keyring{Identity: id}
	if err != nil {
		errs = append(errs, err)
	}
	for _, n := range want {
		p, err := LoadPin(dir, n.Name)
		if _, none := errors.AsType[*NotPairedError](err); err != nil && !none {
			errs = append(errs, fmt.Errorf("the key of %s: %w", n.Name, err))
		}
		n.Key, n.Next = p.Key, p.Next
		k.Nodes = append(k.Nodes, n)
	}
	return k, errors.Join(errs...)
}

// Equal reports whether two keyrings hold the same.
func (k Keyring) Equal(o Keyring) bool {
	if (k.Identity == nil) != (o.Identity == nil) || k.Identity != nil && k.Identity.public != o.Identity.public {
		return false
	}
	return reflect.DeepEqual(k.Nodes, o.Nodes)
}
