package qmp

import (
	"context"
	"fmt"
	"time"

	"kvmctl/internal/units"
)

// OnlineCPUs brings every CPU online that the guest has and does not use, and gives the number that it uses then (guest-get-vcpus,
// guest-set-vcpus in qga/qapi-schema.json).
func (a *Agent) OnlineCPUs(ctx context.Context) (int, error) {
	type cpu struct {
		ID     int64 `json:"logical-id"`
		Online bool  `json:"online"`
	}
	list := func() (online int, off []cpu, err error) {
		var all []cpu
		if err := a.Execute(ctx, "guest-get-vcpus", nil, &all); err != nil {
			return 0, nil, err
		}
		for _, c := range all {
			if c.Online {
				online++
			} else {
				off = append(off, cpu{c.ID, true})
			}
		}
		return online, off, nil
	}
	online, off, err := list()
	if err != nil || len(off) == 0 {
		return online, err
	}
	if err := a.Execute(ctx, "guest-set-vcpus", map[string]any{"vcpus": off}, nil); err != nil {
		return online, err
	}
	online, _, err = list()
	return online, err
}

// maxBlocks is how many memory blocks are brought online by one command, so that neither it nor its answer grows without bound.
const maxBlocks = 512

// Memory is what a guest makes of its memory blocks.
type Memory struct {
	Online  units.Size // in use
	Block   units.Size // of one block
	Offline int        // blocks that it has and does not use
}

// OnlineMemory brings memory blocks online that the guest has and does not use, and tells what holds after that (guest-get-memory-blocks, guest-set-memory-blocks, guest-get-memory-block-info).
func (a *Agent) OnlineMemory(ctx context.Context) (Memory, error) {
	type block struct {
		Index  uint64 `json:"phys-index"`
		Online bool   `json:"online"`
	}
	var info struct{ Size uint64 }
	if err := a.Execute(ctx, "guest-get-memory-block-info", nil, &info); err != nil {
		return Memory{}, err
	}
	list := func() (n int, off []block, err error) {
		var all []block
		if err := a.Execute(ctx, "guest-get-memory-blocks", nil, &all); err != nil {
			return 0, nil, err
		}
		for _, b := range all {
			if b.Online {
				n++
			} else {
				off = append(off, block{b.Index, true})
			}
		}
		return n, off, nil
	}
	n, off, err := list()
	if err == nil && len(off) > 0 {
		if err = a.Execute(ctx, "guest-set-memory-blocks", map[string]any{"mem-blks": off[:min(len(off), maxBlocks)]}, nil); err == nil {
			n, off, err = list()
		}
	}
	return Memory{units.Size(info.Size) * units.Size(n), units.Size(info.Size), len(off)}, err
}

// online is what Debian's kernel does not do by itself: CONFIG_MEMORY_HOTPLUG_DEFAULT_ONLINE is not set there. Movable memory can be
// given back (Documentation/admin-guide/mm/memory-hotplug.rst).
const online = "echo online_movable >/sys/devices/system/memory/auto_online_blocks"

// OnlineByItself has a Linux guest use memory as soon as it comes, until its next boot.
func (a *Agent) OnlineByItself(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx, shellTime)
	defer cancel()
	var started struct{ PID int64 }
	args := map[string]any{"path": "/bin/sh", "arg": []string{"-c", online}}
	if err := a.Execute(ctx, "guest-exec", args, &started); err != nil {
		return err
	}
	for {
		var st struct {
			Exited bool
			Code   int `json:"exitcode"`
		}
		if err := a.Execute(ctx, "guest-exec-status", map[string]any{"pid": started.PID}, &st); err != nil {
			return err
		}
		if st.Exited {
			if st.Code != 0 {
				return fmt.Errorf("run a shell in the guest: exit code %d", st.Code)
			}
			return nil
		}
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// shellTime is how long a shell in the guest may take to write one word.
const shellTime = 2 * time.Second
