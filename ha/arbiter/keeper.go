package arbiter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Keeper keeps records and decides by them: a Store in files of this node, an Etcd in an etcd. It may be used by several goroutines at once.
type Keeper interface {
	// AskFrom decides on a request of the node from, and has the answer kept for good before it gives it. Its errors are those of Asker's Ask.
	AskFrom(ctx context.Context, from string, r Request) (Record, error)
	// Look gives the present record; the error is a *RefusedError or an *UnknownError.
	Look(ctx context.Context, group string) (Record, error)
	// Create makes a group's first record, or after a loss the one that the members know of: holder went on alone as number n. One that is whole is
	// replaced only by force, and never by a smaller number; an empty one takes the place of a damaged one only by force. The error is a *RefusedError, or says what could not be done; then nobody knows whether
	// it was.
	Create(ctx context.Context, group, holder string, n uint64, force bool) (Record, error)
	// Ready says why no answer could be kept now, although Look gives one: a full disk. An arbiter that is asked in earnest once in years would
	// otherwise seem whole until then.
	Ready(ctx context.Context) error
	// Members lists a group's; none of a group that is not declared.
	Members(group string) []string
	// Close lets go of what is idle.
	Close()
}

var (
	_ Keeper = (*Store)(nil)
	_ Keeper = (*Etcd)(nil)
)

// Keep gives what keeps the records: an etcd where at names one, else files in dir. A record that lies in dir beside an etcd is set aside: it would be an
// old one if the etcd were ever left again, and old records let a node win that must not.
func Keep(ctx context.Context, dir string, groups []Group, at EtcdAt) (Keeper, error) {
	s, err := Open(ctx, dir, groups)
	if err != nil {
		return nil, err
	}
	if !at.Named() {
		return s, nil
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, g := range groups {
		path := s.path(g.Name)
		if err := os.Rename(path, path+aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("set aside the record of before the etcd: %w", err)
		}
	}
	e, err := OpenEtcd(at, groups)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// aside is what Keep adds to the name of a file whose record has moved to an etcd.
const aside = ".before-etcd"

// As gives an arbiter as the node from sees it that needs no channel to it.
func As(k Keeper, from string) Asker { return local{k, from} }

type local struct {
	Keeper
	from string
}

func (l local) Ask(ctx context.Context, r Request) (Record, error) { return l.AskFrom(ctx, l.from, r) }

// kept reads a record as it was kept at where, for a group of these members; what is none of theirs is refused.
func kept(group string, members []string, where string, text []byte) (Record, error) {
	r, err := parseRecord(group, text)
	switch {
	case err != nil:
		return Record{}, refused(WhyDamaged, repairHint(group), fmt.Sprintf("%s: %v", where, err))
	case r.Holder != "" && !slices.Contains(members, r.Holder):
		return Record{}, refused(WhyDamaged, repairHint(group), fmt.Sprintf("%s: it is a record of other nodes: %s, who went on alone as number %d, is no member of group %s",
			where, r.Holder, r.N, group))
	}
	return r, nil
}
