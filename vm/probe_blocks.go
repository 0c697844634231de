package vm

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// blockNode is one of query-named-block-nodes.
type blockNode struct {
	Name string `json:"node-name"`
	File string `json:"file"`
}

// blockDevice is one of query-block.
type blockDevice struct {
	QDev     string `json:"qdev"`
	Open     bool   `json:"tray_open"`
	Locked   bool   `json:"locked"`
	Inserted *struct {
		Node string `json:"node-name"`
		File string `json:"file"`
	} `json:"inserted"`
}

// id is the device's; a virtio disk is named by the path of a part of it that has none.
func (d blockDevice) id() string {
	id, _, _ := strings.Cut(strings.TrimPrefix(d.QDev, peripheral), "/")
	return id
}

// fdSet is one of query-fdsets.
type fdSet struct {
	ID  int `json:"fdset-id"`
	FDs []struct {
		FD int `json:"fd"`
	} `json:"fds"`
}

// blocks learns which files the block nodes have open.
func (p *prober) blocks(ctx context.Context) error {
	if err := p.c.Execute(ctx, "query-fdsets", nil, &p.sets); err != nil {
		return err
	}
	if err := p.c.Execute(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &p.nodes); err != nil {
		return err
	}
	var devices []blockDevice
	if err := p.c.Execute(ctx, "query-block", nil, &devices); err != nil {
		return err
	}
	for _, d := range devices {
		id := d.id()
		switch {
		case strings.HasPrefix(id, "cd"):
			cd := RunningCD{ID: id, Open: d.Open, Locked: d.Locked}
			cd.Nodes, cd.Sets = p.nodesOf(id)
			if d.Inserted != nil {
				cd.Image = p.image(d.Inserted.File)
			}
			p.r.CDROMs = append(p.r.CDROMs, cd)
		case strings.HasPrefix(id, "disk") && d.Inserted != nil:
			disk := RunningDisk{ID: id, Image: p.image(d.Inserted.File)}
			disk.Nodes, disk.Sets = p.nodesOf(id)
			p.r.Disks = append(p.r.Disks, disk)
		}
	}
	slices.SortFunc(p.r.CDROMs, func(a, b RunningCD) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(p.r.Disks, func(a, b RunningDisk) int { return number(a.ID) - number(b.ID) })
	return nil
}

// nodesOf gives the block nodes of a device, in the order in which they can be removed, and their descriptor sets.
func (p *prober) nodesOf(id string) (nodes []string, sets []int) {
	for _, n := range p.nodes {
		if !strings.HasPrefix(n.Name, id+".") {
			continue
		}
		nodes = append(nodes, n.Name)
		if set, ok := setNumber(n.File); ok && !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
	}
	slices.Sort(nodes) // disk1.0 before disk1.0.file before disk1.1, on which disk1.0 is based
	return nodes, sets
}

func setNumber(file string) (int, bool) {
	rest, ok := strings.CutPrefix(file, "/dev/fdset/")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(rest)
	return n, err == nil
}

// image asks the kernel which file stands behind a name of QEMU's.
func (p *prober) image(file string) string {
	set, ok := setNumber(file)
	if !ok {
		return file
	}
	for _, s := range p.sets {
		if s.ID != set || len(s.FDs) == 0 {
			continue
		}
		link := fmt.Sprintf("/proc/%d/fd/%d", p.pid, s.FDs[0].FD)
		if st, err := os.Stat(link); err == nil {
			for _, path := range p.known {
				if other, err := os.Stat(path); err == nil && os.SameFile(st, other) {
					return path
				}
			}
		}
		if path, err := os.Readlink(link); err == nil {
			return path
		}
	}
	return file
}

// stale finds disks that were opened for a device that never came, or whose device is gone.
func (p *prober) stale() {
	for _, n := range p.nodes {
		id, _, ok := strings.Cut(n.Name, ".")
		if !ok || !strings.HasPrefix(id, "disk") || slices.Contains(p.r.Taken, id) {
			continue
		}
		p.r.Stale = append(p.r.Stale, n.Name)
		if set, ok := setNumber(n.File); ok && !slices.Contains(p.r.Sets, set) {
			p.r.Sets = append(p.r.Sets, set)
		}
	}
	slices.Sort(p.r.Stale)
}
