package confsync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
)

// journal is written before the first exchange and removed behind the last step: whoever finds one finishes what it says.
type journal struct {
	Version int      `json:"version"`
	From    string   `json:"from"` // staged, or a version that is kept
	Kept    string   `json:"kept"` // the version that what was there becomes
	Keep    int      `json:"keep"` // so many versions stay
	Trees   []change `json:"trees"`
	Reload  []string `json:"reload,omitempty"`
	Record  record   `json:"record"` // what is known of the job behind it
}

type change struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode"` // of what is to be at Path: tells whether the exchange was done
}

const (
	journalVersion = 1
	maxJournal     = 64 << 10
)

func (e *Engine) journalPath(name string) string { return filepath.Join(e.State, name+".swap.json") }

// swap puts what is staged, or kept, in the places of a job.
func (e *Engine) swap(ctx context.Context, job Job, from string, now record) error {
	kept, err := nextVersion(job)
	if err != nil {
		return err
	}
	j := journal{Version: journalVersion, From: from, Kept: kept, Keep: max(job.Keep, 1), Reload: job.Reload, Record: now}
	for _, p := range job.Paths {
		c := change{Path: filepath.Clean(p), Inode: inode(filepath.Join(beside(p), from))}
		if c.Inode == 0 {
			return fmt.Errorf("find what is to be at %s: %w", p, fs.ErrNotExist)
		}
		if err := flush(beside(p)); err != nil {
			return err
		}
		j.Trees = append(j.Trees, c)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	e.step("stage")
	if from == staged { // from here on it is done, whatever the roles are
		if err := e.still(ctx, job); err != nil {
			return err
		}
	}
	if err := atomicfile.Write(e.journalPath(job.Name), text, 0o600); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return e.finish(ctx, job.Name, j)
}

// finish does what of a journal is not done yet. Doing it twice is doing it once.
func (e *Engine) finish(ctx context.Context, name string, j journal) error {
	for _, c := range j.Trees {
		side := beside(c.Path)
		from := filepath.Join(side, j.From)
		e.step("exchange")
		if inode(from) == c.Inode {
			if err := exchange(from, c.Path); err != nil {
				return err
			}
		}
		e.step("keep")
		if inode(from) != 0 {
			if err := os.Rename(from, filepath.Join(side, j.Kept)); err != nil {
				return fmt.Errorf("keep the version before: %w", err)
			}
		}
		e.step("prune")
		if err := prune(side, j.Keep); err != nil {
			return err
		}
		if err := flush(side); err != nil {
			return err
		}
	}
	e.step("reload")
	reloaded := e.reload(ctx, j.Reload)
	j.Record.Unread = reloaded != nil
	e.step("remember")
	if err := e.remember(name, j.Record); err != nil {
		return errors.Join(reloaded, err)
	}
	e.step("forget")
	return errors.Join(reloaded, os.Remove(e.journalPath(name)))
}

// recover finishes what a run that was killed began.
func (e *Engine) recover(ctx context.Context, name string) error {
	text, err := smallfile.Read(e.journalPath(name), maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	j, err := parseJournal(text)
	if err != nil {
		return fmt.Errorf("read the journal %s: %w", e.journalPath(name), err)
	}
	return e.finish(ctx, name, j)
}

func parseJournal(text []byte) (j journal, err error) {
	if err := json.Unmarshal(text, &j); err != nil {
		return journal{}, err
	}
	_, from := versionOf(j.From)
	_, kept := versionOf(j.Kept)
	if j.Version != journalVersion || j.From != staged && !from || !kept || j.Keep < 1 {
		return journal{}, fmt.Errorf("version %d, from %q to %q, %d of them: not this program's", j.Version, j.From, j.Kept, j.Keep)
	}
	for _, c := range j.Trees {
		if !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path || c.Inode == 0 {
			return journal{}, fmt.Errorf("bad path %q", c.Path)
		}
	}
	return j, nil
}
