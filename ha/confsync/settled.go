package confsync

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
)

// settled is the file that outlives a boot: a time of day that the node slept through is not forgotten.
type settled struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
}

const settledVersion = 1

func settledPath(state, name string) string { return filepath.Join(state, name+".at.json") }

// Settled gives the newest instant of a job's At that is done with; zero: nobody knows. state is Engine.State.
func Settled(state, name string) (time.Time, error) {
	text, err := smallfile.Read(settledPath(state, name), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	var s settled
	if err == nil {
		s, err = parseSettled(text)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read when sync %s was due: %w", name, err)
	}
	return s.At, nil
}

func parseSettled(text []byte) (s settled, err error) {
	if err := json.Unmarshal(text, &s); err != nil {
		return settled{}, err
	}
	if s.Version != settledVersion {
		return settled{}, fmt.Errorf("version %d: not this program's", s.Version)
	}
	return s, nil
}

// NoteSettled writes it.
func NoteSettled(state, name string, at time.Time) error {
	text, err := json.Marshal(settled{settledVersion, at})
	if err == nil {
		err = os.MkdirAll(state, 0o700)
	}
	if err == nil {
		err = atomicfile.Write(settledPath(state, name), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note when sync %s was due: %w", name, err)
	}
	return nil
}
