package vm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kvmctl/vm/image"
	"kvmctl/vm/qmp"
)

// jobPrefix marks QEMU's jobs that are ours.
const jobPrefix = "kvmctl-"

// jobTime bounds a job: QEMU answers nobody while it writes the guest's memory to the disk.
const jobTime = time.Hour

// JobError is a job of QEMU's that failed.
type JobError struct{ Why string }

func (e *JobError) Error() string { return e.Why }

// runJob starts a job, waits for its end, which ^C does not hasten, and tidies up behind it and what killed kvmctls left.
func runJob(ctx context.Context, c *qmp.Client, cmd string, args map[string]any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobTime)
	defer cancel()
	jobs, err := queryJobs(ctx, c)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Status == "concluded" && strings.HasPrefix(j.ID, jobPrefix) {
			_ = c.Execute(ctx, "job-dismiss", map[string]any{"id": j.ID}, nil)
		}
	}
	id := jobPrefix + rand.Text()[:8]
	args["job-id"] = id
	if err := c.Execute(ctx, cmd, args, nil); err != nil {
		return err
	}
	for {
		jobs, err := queryJobs(ctx, c)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if j.ID != id || j.Status != "concluded" {
				continue
			}
			_ = c.Execute(ctx, "job-dismiss", map[string]any{"id": id}, nil)
			if j.Error != "" {
				return &JobError{j.Error}
			}
			return nil
		}
		if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("wait for QEMU's %s: %w", cmd, ctx.Err())
		}
	}
}

type qemuJob struct{ ID, Status, Error string }

func queryJobs(ctx context.Context, c *qmp.Client) (jobs []qemuJob, err error) {
	if err := c.Execute(ctx, "query-jobs", nil, &jobs); err != nil {
		return nil, fmt.Errorf("ask for QEMU's jobs: %w", err)
	}
	return jobs, nil
}

// snapshotNodes names the block nodes of a running guest's disks as Args made them.
func snapshotNodes(spec *Spec) ([]string, error) {
	disks, err := writable(spec)
	if err != nil {
		return nil, err
	}
	var nodes []string
	for _, d := range disks {
		nodes = append(nodes, fmt.Sprintf("disk%d.0", d))
	}
	return nodes, nil
}

// liveNodes names the block nodes of a guest's disks as they are while it runs: a disk that came meanwhile has the first name that was free.
func liveNodes(spec *Spec, live *Running) ([]string, error) {
	disks, err := writable(spec)
	if err != nil {
		return nil, err
	}
	var nodes []string
	for _, d := range disks {
		i := slices.IndexFunc(live.Disks, func(x RunningDisk) bool { return x.Image == spec.Disks[d].Image })
		if i < 0 {
			return nil, &NoSnapshotError{fmt.Sprintf("disk %d (%s) is in its vm.toml, and it runs without", d, spec.Disks[d].Image), "kvmctl set " + spec.Name}
		}
		nodes = append(nodes, live.Disks[i].ID+".0")
	}
	return nodes, nil
}

// atSnapshots opens the monitor of a running guest for work on its snapshots.
func (h *Host) atSnapshots(ctx context.Context, spec *Spec, work func(c *qmp.Client) error) error {
	if _, err := writable(spec); err != nil {
		return err
	}
	c, closeMonitor, err := h.Monitor(ctx, spec.Name)
	if err != nil {
		return err
	}
	defer closeMonitor()
	return work(c)
}

func (h *Host) createOnline(ctx context.Context, tool image.Tool, spec *Spec, name string) error {
	return h.atSnapshots(ctx, spec, func(c *qmp.Client) error {
		machine, _, live, err := h.presentMachine(ctx, c, spec)
		if err != nil {
			return err
		}
		nodes, err := liveNodes(spec, live)
		if err != nil {
			return err
		}
		if err := h.roomForMemory(spec); err != nil {
			return err
		}
		if err := h.keepNVRAM(spec, name); err != nil {
			return err
		}
		if err := h.saveSnapshotMachine(spec.Name, name, machine); err != nil {
			return err
		}
		h.step("snapshot begins")
		err = runJob(ctx, c, "snapshot-save", map[string]any{"tag": name, "vmstate": nodes[0], "devices": nodes})
		if err == nil {
			err = ctx.Err() // ^C meanwhile: it is taken back
		}
		if err == nil {
			h.step("snapshot made")
			return nil
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		if s, ferr := findSnapshot(undo, tool, spec, name); ferr == nil && s != nil {
			err = errors.Join(err, runJob(undo, c, "snapshot-delete", map[string]any{"tag": name, "devices": nodes}))
		}
		return errors.Join(err, h.forgetSnapshot(spec.Name, name))
	})
}

// roomForMemory measures the room where the guest's memory goes: beside its first disk's data.
func (h *Host) roomForMemory(spec *Spec) error {
	disks, err := writable(spec)
	if err != nil {
		return err
	}
	p, err := h.owner(spec.Name)
	if err != nil {
		return err
	}
	defer p.Close()
	need, err := footprint(p.PID)
	if err != nil {
		return err
	}
	return enoughRoom(filepath.Dir(spec.Disks[disks[0]].Image), need)
}

// HaltedError says that a guest stands still because it could not be turned back.
type HaltedError struct {
	Name string
	Err  error
}

func (e *HaltedError) Error() string {
	return fmt.Sprintf("%v; the guest stands still, and its disks may be turned back already", e.Err)
}
func (e *HaltedError) Unwrap() error { return e.Err }

// Hint is the way out.
func (e *HaltedError) Hint() string {
	return "kvmctl stop " + e.Name + " --force, then kvmctl snapshot restore --disks-only"
}

func (h *Host) loadOnline(ctx context.Context, spec *Spec, name string) error {
	return h.atSnapshots(ctx, spec, func(c *qmp.Client) error {
		now, _, live, err := h.presentMachine(ctx, c, spec)
		if err != nil {
			return err
		}
		nodes, err := liveNodes(spec, live)
		if err != nil {
			return err
		}
		then, err := h.snapshotMachine(spec.Name, name)
		if err != nil {
			return err
		}
		if err := sameMachine(spec.Name, then, now); err != nil {
			return err
		}
		if err := loadSnapshot(ctx, c, spec.Name, name, nodes); err != nil {
			return err
		}
		h.step("snapshot loaded")
		return h.noteTurnedBack(ctx, c, spec.Name, then)
	})
}

func loadSnapshot(ctx context.Context, c *qmp.Client, guest, name string, nodes []string) error {
	if err := runJob(ctx, c, "snapshot-load", map[string]any{"tag": name, "vmstate": nodes[0], "devices": nodes}); err != nil {
		return &HaltedError{guest, err}
	}
	return nil
}

func (h *Host) deleteOnline(ctx context.Context, spec *Spec, name string) error {
	return h.atSnapshots(ctx, spec, func(c *qmp.Client) error {
		live, err := h.liveOf(ctx, c, spec)
		if err != nil {
			return err
		}
		nodes, err := liveNodes(spec, live)
		if err != nil {
			return err
		}
		return runJob(ctx, c, "snapshot-delete", map[string]any{"tag": name, "devices": nodes}) // a disk without it is no error (snapshot-delete, qapi)
	})
}
