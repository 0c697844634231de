package arbiter

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// roomOnDisk is how many bytes have to be free for a record to be replaced: the new one beside the old one, and what the file system takes for it.
const roomOnDisk = 16 << 10

// Ready is Keeper's: the disk is full, or can only be read.
func (s *Store) Ready(context.Context) error {
	if err := unix.Access(s.dir, unix.W_OK); err != nil { // EROFS after a disk's error, too
		return fmt.Errorf("keep an answer in %s: %w", s.dir, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return fmt.Errorf("statfs %s: %w", s.dir, err)
	}
	// The types differ between systems. Files is 0 where there is no count of them (btrfs).
	free := uint64(st.Bfree) * uint64(st.Bsize)
	if free < roomOnDisk || st.Files > 0 && uint64(st.Ffree) == 0 {
		return fmt.Errorf("keep an answer in %s, where %d bytes and %d files are free: %w", s.dir, free, uint64(st.Ffree), unix.ENOSPC)
	}
	return nil
}

// ErrEtcdAlarm says that an etcd has raised an alarm, with which it writes nothing.
var ErrEtcdAlarm = errors.New("the etcd has an alarm and writes nothing until it is disarmed (etcdctl alarm list, etcdctl alarm disarm)")

// Ready is Keeper's: an etcd whose quota of space is used up still answers whoever only looks.
func (e *Etcd) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, etcdWait)
	defer cancel()
	data, err := e.post(ctx, "/v3/maintenance/alarm", etcdAlarm{"GET"})
	if err != nil {
		return nil // Look tells of an etcd that is away; and not every certificate may ask this
	}
	if kind := parseAlarms(data); kind != "" {
		return fmt.Errorf("keep an answer in etcd: %w: %s", ErrEtcdAlarm, kind)
	}
	return nil
}
