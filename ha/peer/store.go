package peer

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
)

// Dir is where the keys are, below the agent's state directory; the names are those of the files in it.
const (
	Dir          = "peer"
	identityFile = "identity"
	nextFile     = "identity.next" // of a rotation under way
	pinSuffix    = ".pub"
	maxKeyFile   = 4096 // bytes
)

// NoIdentityError says that this node has no key yet.
type NoIdentityError struct{ Dir string }

func (e *NoIdentityError) Error() string { return "this node has no key yet in " + e.Dir }

// Hint says how it gets one.
func (e *NoIdentityError) Hint() string { return "kvmha pair, on both nodes" }

// NotPairedError says that the key of a node is not known here.
type NotPairedError struct{ Name string }

func (e *NotPairedError) Error() string { return "not paired with " + e.Name }

// Hint says how to pair.
func (e *NotPairedError) Hint() string {
	return "kvmha pair, on " + e.Name + "; then here: kvmha pair <its address>"
}

// ErrExposed says that others than root could read or change a key.
var ErrExposed = errors.New("others than root can read or change it")

// LoadIdentity reads this node's key; without one it gives a *NoIdentityError. A file that others may read is refused with ErrExposed.
func LoadIdentity(dir string) (*Identity, error) { return loadIdentity(dir, identityFile, nil) }

// loadIdentity gives known, where that is what the file holds.
func loadIdentity(dir, name string, known *Identity) (*Identity, error) {
	path := filepath.Join(dir, name)
	text, err := readOwn(path, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoIdentityError{dir}
	}
	if err != nil {
		return nil, err
	}
	body, ok := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), secretPrefix)
	seed, err := base64.RawStdEncoding.Strict().DecodeString(body)
	if !ok || err != nil {
		return nil, fmt.Errorf("read %s: %w", path, ErrBadKey) // the text is a secret: no error shows it
	}
	if known != nil && bytes.Equal(known.sign.Seed(), seed) {
		return known, nil
	}
	id, err := newIdentity(seed)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return id, nil
}

// CreateIdentity gives this node a key, and the one that it has where it has one.
func CreateIdentity(dir string) (*Identity, error) { return createIdentity(dir, identityFile) }

func createIdentity(dir, name string) (id *Identity, err error) {
	err = change(dir, func() error {
		id, err = loadIdentity(dir, name, nil)
		if _, none := errors.AsType[*NoIdentityError](err); err == nil || !none {
			return err
		}
		var seed [32]byte
		_, _ = rand.Read(seed[:]) // it never fails (crypto/rand, since Go 1.24)
		text := []byte(secretPrefix + base64.RawStdEncoding.EncodeToString(seed[:]) + "\n")
		if err := atomicfile.Write(filepath.Join(dir, name), text, 0o600); err != nil {
			return fmt.Errorf("keep the key: %w", err)
		}
		id, err = loadIdentity(dir, name, nil)
		return err
	})
	return id, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	return nil
}

// Pin is what is known of a node's key. During a rotation there are two, and both are accepted.
type Pin struct{ Key, Next PublicKey }

// LoadPin reads what was pinned of a node; where nothing was, it gives a *NotPairedError.
func LoadPin(dir, name string) (Pin, error) {
	if !ValidName(name) {
		return Pin{}, &NotPairedError{name}
	}
	path := filepath.Join(dir, name+pinSuffix)
	text, err := readOwn(path, 0o022)
	if errors.Is(err, fs.ErrNotExist) {
		return Pin{}, &NotPairedError{name}
	}
	if err != nil {
		return Pin{}, err
	}
	var p Pin
	first, second, two := strings.Cut(strings.TrimSuffix(string(text), "\n"), "\n")
	if p.Key, err = ParsePublicKey(first); err == nil && two {
		p.Next, err = ParsePublicKey(second)
	}
	if err != nil {
		return Pin{}, fmt.Errorf("read %s: %w", path, err)
	}
	return p, nil
}

// SavePin pins a node's key.
func SavePin(dir, name string, p Pin) error {
	return change(dir, func() error { return savePin(dir, name, p) })
}

// savePin is SavePin for who changes the keys already.
func savePin(dir, name string, p Pin) error {
	if !ValidName(name) {
		return fmt.Errorf("keep the key of %q: %w", name, ErrBadName)
	}
	text := p.Key.String() + "\n"
	if !p.Next.IsZero() {
		text += p.Next.String() + "\n"
	}
	if err := atomicfile.Write(filepath.Join(dir, name+pinSuffix), []byte(text), 0o600); err != nil {
		return fmt.Errorf("keep the key of %s: %w", name, err)
	}
	return nil
}

// Forget removes what was pinned of a node, and reports whether there was something.
func Forget(dir, name string) (was bool, err error) {
	if !ValidName(name) {
		return false, fmt.Errorf("forget %q: %w", name, ErrBadName)
	}
	err = change(dir, func() error {
		err := os.Remove(filepath.Join(dir, name+pinSuffix))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("forget the key of %s: %w", name, err)
		}
		was = true
		return syncDir(dir)
	})
	return was, err
}

// Pinned lists the names of the nodes whose keys are pinned, sorted.
func Pinned(dir string) ([]string, error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the pinned keys: %w", err)
	}
	var names []string
	for _, e := range all {
		if name, ok := strings.CutSuffix(e.Name(), pinSuffix); ok && ValidName(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// readOwn reads a file that belongs to root, or whoever runs this, and whose mode has none of the bits in others.
func readOwn(path string, others fs.FileMode) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || info.Mode().Perm()&others != 0 || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("read %s: %w", path, ErrExposed)
	}
	text, err := smallfile.Read(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}
