package arbiter

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Bounds of a record.
const (
	maxRecord = 4096    // bytes of its text
	maxN      = 1 << 53 // what every reader of JSON keeps exactly
)

// ID is a request's, of 128 random bits. Its text is hexadecimal.
type ID [16]byte

// NewID makes an ID. Whoever asks keeps it with n until it has an answer: the same one asked again gets the same answer.
func NewID() (id ID) {
	_, _ = rand.Read(id[:]) // it never fails (crypto/rand, since Go 1.24)
	return id
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText gives the hexadecimal text.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ErrBadID says that a text is no ID.
var ErrBadID = errors.New("a request id has 32 hexadecimal digits")

// UnmarshalText reads the hexadecimal text.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(id)) {
		return ErrBadID
	}
	if _, err := hex.Decode(id[:], text); err != nil {
		return ErrBadID
	}
	return nil
}

// Record says who went on alone last.
type Record struct {
	Group  string    `json:"group"`
	Holder string    `json:"holder"` // "": nobody ever
	N      uint64    `json:"n"`      // 0: nobody ever; it grows by one each time
	ID     ID        `json:"id"`     // of the request that won it
	When   time.Time `json:"when"`   // wall clock: for people, never for decisions
}

// Same reports whether two records say the same, whatever their clocks said.
func (r Record) Same(other Record) bool {
	return r.Group == other.Group && r.Holder == other.Holder && r.N == other.N && r.ID == other.ID
}

func (r Record) String() string {
	if r.N == 0 {
		return r.Group + ": nobody went on alone yet"
	}
	return fmt.Sprintf("%s: %s went on alone as number %d", r.Group, r.Holder, r.N)
}

// valid reports whether a record could be one of ours.
func (r Record) valid() bool {
	return ValidGroup(r.Group) && r.N <= maxN && (r.N == 0) == (r.Holder == "") && (r.Holder == "" || validHolder(r.Holder))
}

// ValidGroup reports whether a group may be called so: the name becomes that of a file and of a key.
func ValidGroup(name string) bool { return validName(name, 40, "_-") }

// validHolder is peer.ValidName.
func validHolder(name string) bool { return validName(name, 63, "._-") }

func validName(name string, most int, besides string) bool {
	if name == "" || len(name) > most {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !contains(besides, c)) {
			return false
		}
	}
	return true
}

func contains(s string, c byte) bool {
	for i := range len(s) {
		if s[i] == c {
			return true
		}
	}
	return false
}

// sealed is a record as it is kept.
type sealed struct {
	Version int             `json:"version"`
	Sum     string          `json:"sha256"` // of the record's bytes
	Record  json.RawMessage `json:"record"`
}

const recordVersion = 1

// ErrBadRecord says that what is kept is no whole record.
var ErrBadRecord = errors.New("it is damaged: not a record, or not the whole of one")

// ErrLaterVersion says that a record is of a later kvmha, which this one cannot read.
var ErrLaterVersion = errors.New("a later kvmha wrote it, and this one cannot read it")

// seal gives a record as it is kept, with a checksum.
func (r Record) seal() ([]byte, error) {
	if !r.valid() {
		return nil, ErrBadRecord
	}
	r.When = r.When.UTC().Truncate(time.Second)
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write a record: %w", err)
	}
	text, err := json.Marshal(sealed{recordVersion, sum(body), body})
	if err != nil {
		return nil, fmt.Errorf("write a record: %w", err)
	}
	return append(text, '\n'), nil
}

func sum(body []byte) string {
	s := sha256.Sum256(body)
	return hex.EncodeToString(s[:])
}

// parseRecord reads what seal gave for the same group.
func parseRecord(group string, text []byte) (Record, error) {
	var s sealed
	switch {
	case len(text) > maxRecord || json.Unmarshal(text, &s) != nil:
		return Record{}, ErrBadRecord
	case s.Version > recordVersion:
		return Record{}, ErrLaterVersion
	case s.Version != recordVersion || s.Sum != sum(s.Record):
		return Record{}, ErrBadRecord
	}
	var r Record
	if json.Unmarshal(s.Record, &r) != nil || !r.valid() || r.Group != group {
		return Record{}, ErrBadRecord
	}
	return r, nil
}
