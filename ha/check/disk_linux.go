package check

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
)

// Probe implements Spec.
func (s Disk) Probe(Env) (Probe, error) { return &diskProbe{spec: s}, nil }

// diskProbe has at most one look under way. The kernel may keep that for as long as it likes (a dead NFS server), with its thread; the question is
// answered without it, and there is no second look meanwhile.
type diskProbe struct {
	spec  Disk
	look  chan seenDisk // of the look under way; nil: none is
	began time.Time     // that look
}

type seenDisk struct {
	path string // without symbolic links
	room room
	err  error
}

// Close leaves a look that hangs to the kernel: nothing can end it.
func (*diskProbe) Close() {}

func (p *diskProbe) Ask(ctx context.Context) error {
	if p.look != nil { // one that hung in the last question
		if _, err := p.wait(ctx); err != nil {
			return err
		}
	}
	p.look, p.began = make(chan seenDisk, 1), time.Now()
	go func(to chan<- seenDisk) { to <- lookAt(p.spec.Path) }(p.look)
	seen, err := p.wait(ctx)
	if err == nil {
		err = seen.err
	}
	if err != nil {
		return err
	}
	table, err := mountinfo.Read()
	if err != nil {
		return &UnseenError{fmt.Sprintf("read the mount table: %v", err)}
	}
	at, ok := covering(table, seen.path)
	if !ok {
		return fmt.Errorf("%s is below no mount of this machine", seen.path)
	}
	return p.spec.judge(at, seen.room)
}

// wait gives what the look under way has seen.
func (p *diskProbe) wait(ctx context.Context) (seenDisk, error) {
	select {
	case seen := <-p.look:
		p.look = nil
		return seen, nil
	case <-ctx.Done():
	}
	on := ""
	if table, err := mountinfo.Read(); err == nil {
		if at, ok := covering(table, filepath.Clean(p.spec.Path)); ok {
			on = fmt.Sprintf(" (%s on %s)", at.Type, at.Source)
		}
	}
	return seenDisk{}, fmt.Errorf("%s%s has not answered for %v", p.spec.Path, on, time.Since(p.began).Round(10*time.Millisecond))
}

// lookAt may never return.
func lookAt(path string) (seen seenDisk) {
	if seen.path, seen.err = filepath.EvalSymlinks(path); seen.err != nil {
		return seen
	}
	var st unix.Statfs_t
	if err := unix.Statfs(seen.path, &st); err != nil {
		seen.err = fmt.Errorf("statfs %s: %w", path, err)
		return seen
	}
	seen.room = room{block: uint64(st.Frsize), blocks: st.Blocks, free: st.Bavail, inodes: st.Files, spare: st.Ffree}
	if reserved := st.Bfree - st.Bavail; reserved < st.Blocks { // for root alone
		seen.room.blocks -= reserved
	}
	return seen
}
