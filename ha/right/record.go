package right

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kvmctl/ha/arbiter"
)

// Bounds of a record.
const (
	maxRecord = 4096    // bytes of its text
	maxWhy    = 200     // bytes
	maxN      = 1 << 53 // what every reader of JSON keeps exactly
)

// State is what a record says.
type State string

// The states.
const (
	Unwritten State = ""       // there is no record: a new group, or a lost file. It gives no right
	Paired    State = "paired" // the peer may have gone on alone since: without it, wait
	Alone     State = "alone"  // nobody else has written since: this node may go on without its peer
)

// Record is one node's for one group. The zero Record is that of a group whose record was never written.
type Record struct {
	Group string `json:"group"`
	State State  `json:"state"`

	// N is the number of the last time that this node knows of at which one of the two went on alone; it never goes back. Paired keeps it: both nodes
	// are each other's equals only while they are paired at the same number, and the next one who goes on alone takes the number after it.
	N uint64 `json:"n"`

	When time.Time `json:"when"` // wall clock, whole seconds: for people, never for decisions
	Why  string    `json:"why"`  // for people: the licence, the request's id
}

// Same reports whether two records say the same, whenever and for whatever reason they were written.
func (r Record) Same(other Record) bool { return r.State == other.State && r.N == other.N }

// Newer reports whether r was written after other in the life of one node, where each number is first that of Alone and then of Paired.
func (r Record) Newer(other Record) bool {
	if r.N != other.N {
		return r.N > other.N
	}
	return rank(r.State) > rank(other.State)
}

func rank(s State) int {
	switch s {
	case Alone:
		return 1
	case Paired:
		return 2
	case Unwritten:
	}
	return 0
}

func (r Record) String() string {
	switch r.State {
	case Alone:
		return fmt.Sprintf("alone %d", r.N)
	case Paired:
		return fmt.Sprintf("paired (%d)", r.N)
	case Unwritten:
	}
	return "never written"
}

// valid reports whether a record could be one that was written.
func (r Record) valid() bool {
	if !arbiter.ValidGroup(r.Group) || r.N > maxN || len(r.Why) > maxWhy || r.When.Nanosecond() != 0 || r.When.Location() != time.UTC {
		return false
	}
	return r.State == Paired || r.State == Alone && r.N > 0
}

// ErrDamaged says that what is kept is no whole record of its group. It never counts as a record: whoever finds it may not go on alone.
var ErrDamaged = errors.New("it is damaged: not a record, or not the whole of one")

// ErrLaterVersion says that a later kvmha wrote it.
var ErrLaterVersion = errors.New("a later kvmha wrote it, and this one cannot read it")

// sealed is a record as it is kept.
type sealed struct {
	Version int             `json:"version"`
	Sum     string          `json:"sha256"` // of the record's bytes
	Record  json.RawMessage `json:"record"`
}

const recordVersion = 1

// Seal gives the record as it is kept, here and at a guest's host: one line of JSON with a checksum.
func (r Record) Seal() ([]byte, error) {
	r.When = r.When.UTC().Truncate(time.Second)
	if !r.valid() {
		return nil, ErrDamaged
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write a record: %w", err)
	}
	hash := sha256.Sum256(body)
	text, err := json.Marshal(sealed{recordVersion, hex.EncodeToString(hash[:]), body})
	if err != nil {
		return nil, fmt.Errorf("write a record: %w", err)
	}
	return append(text, '\n'), nil
}

// Parse reads what Seal gave for the same group, and nothing else, to the last byte. The error wraps ErrDamaged or ErrLaterVersion.
func Parse(group string, text []byte) (Record, error) {
	if len(text) > maxRecord {
		return Record{}, ErrDamaged
	}
	var s sealed
	if json.Unmarshal(text, &s) != nil {
		return Record{}, ErrDamaged
	}
	if s.Version > recordVersion {
		return Record{}, ErrLaterVersion
	}
	var r Record
	if json.Unmarshal(s.Record, &r) != nil || r.Group != group {
		return Record{}, ErrDamaged
	}
	// Whatever a checksum, a second key of the same name or a space too many could hide: it is not what Seal writes.
	if same, err := r.Seal(); err != nil || !bytes.Equal(same, text) {
		return Record{}, ErrDamaged
	}
	return r, nil
}
