package confsync

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
)

// record is what is known of a job between two runs.
type record struct {
	Version int       `json:"version"`
	Source  string    `json:"source,omitempty"` // the fingerprint of what last came; empty: not known, and what comes next counts as that
	Place   string    `json:"place,omitempty"`  // that of what was put in place of it: its times may be others
	Held    time.Time `json:"held,omitzero"`    // since when a rollback keeps just that away; zero: nothing is kept away
	Unread  bool      `json:"unread,omitempty"` // the reload behind it failed
	Away    string    `json:"away,omitempty"`   // the version that it was put away as
}

const maxRecord = 4 << 10

func recordPath(state, name string) string { return filepath.Join(state, name+".state.json") }

// Held tells since when a rollback keeps away what the source has; zero: none does. state is Engine.State.
func Held(state, name string) (time.Time, error) {
	r, err := (&Engine{State: state}).recall(name)
	return r.Held, err
}

// HeldError says that what the source has is what a rollback put away.
type HeldError struct {
	Name  string
	Since time.Time
}

func (e *HeldError) Error() string {
	return "a rollback keeps away what the source has until it changes there"
}

// Hint says how it is copied all the same.
func (e *HeldError) Hint() string { return "kvmha sync " + e.Name }

// recall reads a job's record; without one nothing is known.
func (e *Engine) recall(name string) (record, error) {
	text, err := smallfile.Read(recordPath(e.State, name), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("read what is known of sync %s: %w", name, err)
	}
	r, err := parseRecord(text)
	if err != nil {
		return record{}, fmt.Errorf("read what is known of sync %s: %w", name, err)
	}
	return r, nil
}

func parseRecord(text []byte) (r record, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, err
	}
	if r.Version != journalVersion {
		return record{}, fmt.Errorf("version %d: not this program's", r.Version)
	}
	return r, nil
}

func (e *Engine) remember(name string, r record) error {
	r.Version = journalVersion
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(recordPath(e.State, name), text, 0o600); err != nil {
		return fmt.Errorf("write what is known of sync %s: %w", name, err)
	}
	return nil
}

// equal reports whether a job has nothing to do: what came is what is in place, or has been put there in newer clothes.
func (r record) equal(all Changes, now record) bool {
	return all.None() || r.Held.IsZero() && r.Source == now.Source && r.Place == now.Place
}

// settle notes that both sides are equal, and reloads what could not be reloaded before.
func (e *Engine) settle(ctx context.Context, job Job, was, now record) (err error) {
	if was.Unread {
		e.step("reload")
		err = e.reload(ctx, job.Reload)
		now.Unread = err != nil
	}
	if now.Version = was.Version; was == now {
		return err
	}
	return errors.Join(err, e.remember(job.Name, now))
}

// held refuses what a rollback has put away, and reloads what could not be reloaded behind that.
func (e *Engine) held(ctx context.Context, job Job, was, now record, dry bool) error {
	if e.Anyway || was.Held.IsZero() || was.Source != "" && was.Source != now.Source {
		return nil
	}
	if dry {
		return &HeldError{job.Name, was.Held}
	}
	next := was
	next.Source = now.Source
	var reloaded error
	if was.Unread {
		e.step("reload")
		reloaded = e.reload(ctx, job.Reload)
		next.Unread = reloaded != nil
	}
	if next != was {
		reloaded = errors.Join(reloaded, e.remember(job.Name, next))
	}
	if reloaded != nil {
		return reloaded
	}
	return &HeldError{job.Name, was.Held}
}

// fingerprint tells what came from any other thing that comes: by what compare looks at.
type fingerprint struct{ hash.Hash }

func newPrint() *fingerprint { return &fingerprint{sha256.New()} }

// add takes the next path of a job.
func (f *fingerprint) add(came map[string]fs.FileInfo) {
	for _, name := range slices.Sorted(maps.Keys(came)) {
		info := came[name]
		uid, gid := owner(info)
		fmt.Fprintf(f, "%q %v %d %d", name, info.Mode(), uid, gid)
		if !info.IsDir() {
			fmt.Fprintf(f, " %d %d", info.Size(), info.ModTime().UnixNano())
		}
		fmt.Fprintln(f)
	}
	fmt.Fprintln(f)
}

func (f *fingerprint) sum() string { return hex.EncodeToString(f.Sum(nil)) }
