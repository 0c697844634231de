package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"kvmctl/vm/qmp"
)

// undoer remembers how to take back what was done so far.
type undoer []func()

func (u *undoer) add(f func()) { *u = append(*u, f) }

func (u undoer) run() {
	for _, f := range slices.Backward(u) {
		f()
	}
}

// newSet asks for a descriptor set of its own: QEMU counts them from 0.
const newSet = -1

// addFile hands QEMU an open file as one of a descriptor set; newSet makes one. It gives the set's number.
func addFile(ctx context.Context, c *qmp.Client, f *os.File, set int) (int, error) {
	args := map[string]any{}
	if set != newSet {
		args["fdset-id"] = set
	}
	var got struct {
		Set int `json:"fdset-id"`
	}
	if err := c.ExecuteWithFile(ctx, "add-fd", args, &got, f); err != nil {
		return 0, fmt.Errorf("hand over a file: %w", err)
	}
	return got.Set, nil
}

// addImage makes the block nodes of one file: the file itself and its format on top. The names are node and node + ".file".
func (e *executor) addImage(ctx context.Context, undo *undoer, node string, layer Layer, d Disk, readOnly bool, backing *string) error {
	o := &openFiles{byName: map[string]*os.File{}}
	defer o.close()
	if err := o.openImage("ro", layer.Path, os.O_RDONLY); err != nil {
		return err
	}
	set, err := addFile(ctx, e.mon, o.byName["ro"], newSet)
	if err != nil {
		return err
	}
	undo.add(func() { e.drop("remove-fd", map[string]any{"fdset-id": set}) })
	if !readOnly {
		if err := o.openImage("rw", layer.Path, os.O_RDWR); err != nil {
			return err
		}
		if _, err := addFile(ctx, e.mon, o.byName["rw"], set); err != nil {
			return err
		}
	}
	discard := ""
	if d.Discard && !readOnly {
		discard = "unmap"
	}
	file := blockFile{Driver: "file", NodeName: node + ".file", Filename: fmt.Sprintf("/dev/fdset/%d", set), ReadOnly: readOnly,
		Discard: discard, Cache: cacheOf(d.Cache)}
	if err := e.mon.Execute(ctx, "blockdev-add", file, nil); err != nil {
		return fmt.Errorf("open %s: %w", layer.Path, err)
	}
	undo.add(func() { e.drop("blockdev-del", map[string]any{"node-name": file.NodeName}) })
	format := blockFormat{Driver: layer.Format, NodeName: node, File: file.NodeName, Backing: backing, ReadOnly: readOnly,
		Discard: discard, Cache: cacheOf(d.Cache)}
	if err := e.mon.Execute(ctx, "blockdev-add", format, nil); err != nil {
		return fmt.Errorf("open %s: %w", layer.Path, err)
	}
	undo.add(func() { e.drop("blockdev-del", map[string]any{"node-name": node}) })
	return nil
}

// drop takes something back. That it cannot be is no news: the next comparison shows it.
func (e *executor) drop(cmd string, args map[string]any) {
	_ = e.mon.Execute(context.Background(), cmd, args, nil) // bounded by the command's own time
}

// addDisk plugs a disk in.
func (e *executor) addDisk(ctx context.Context, o *Outcome) (err error) {
	d := e.file.Disks[o.at]
	one := *e.file
	one.Disks = []Disk{d}
	layers, err := chains(ctx, &one)
	if err != nil {
		return err
	}
	id := e.freeID("disk", func(id string) bool {
		return slices.ContainsFunc(e.live.Disks, func(x RunningDisk) bool { return x.ID == id })
	})
	var undo undoer
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	below := ""
	for n, layer := range slices.Backward(layers[0]) {
		var backing *string
		if below != "" {
			backing = &below
		}
		node := fmt.Sprintf("%s.%d", id, n)
		if err := e.addImage(ctx, &undo, node, layer, d, n > 0 || d.ReadOnly, backing); err != nil {
			return &DiskError{Disk: o.at, Image: d.Image, Err: err}
		}
		below = node
	}
	e.h.step("disk open")
	b := &builder{spec: e.file, abi: e.abi}
	if err := e.mon.Execute(ctx, "device_add", deviceArgs(b.diskDeviceAs(id, d, below)), nil); err != nil {
		return fmt.Errorf("plug in %s: %w", d.Image, err)
	}
	e.live.Disks = append(e.live.Disks, RunningDisk{ID: id, Image: d.Image, Port: e.abi.diskOf(d).Port})
	e.rec.Applied.Disks = append(slices.Clone(e.rec.Applied.Disks), d)
	e.sortApplied()
	return nil
}

// sortApplied puts the disks in force into the file's order.
func (e *executor) sortApplied() {
	at := func(d Disk) int {
		if i := slices.IndexFunc(e.file.Disks, func(x Disk) bool { return x.Image == d.Image }); i >= 0 {
			return i
		}
		return len(e.file.Disks)
	}
	slices.SortStableFunc(e.rec.Applied.Disks, func(a, b Disk) int { return at(a) - at(b) })
}

// freeID gives the first name of a kind that no device has, nor a block node that is left of one.
func (e *executor) freeID(kind string, used func(string) bool) string {
	for n := 0; ; n++ {
		if id := fmt.Sprintf("%s%d", kind, n); !used(id) && !slices.Contains(e.live.Taken, id) {
			return id
		}
	}
}

// removeDisk unplugs a disk, which the guest has to let go of.
func (e *executor) removeDisk(ctx context.Context, o *Outcome) error {
	i := slices.IndexFunc(e.live.Disks, func(x RunningDisk) bool { return x.ID == o.id })
	disk := e.live.Disks[i]
	if where := e.mountedAt(ctx, disk); where != "" {
		return &MountedError{Image: disk.Image, Where: where}
	}
	gone, err := e.unplug(ctx, disk.ID)
	if err != nil {
		return err
	}
	if !gone {
		o.When, o.InVain, o.Note = WhenGuest, true, "it does not let go"
		return nil
	}
	for _, n := range disk.Nodes {
		e.drop("blockdev-del", map[string]any{"node-name": n})
	}
	for _, set := range disk.Sets {
		e.drop("remove-fd", map[string]any{"fdset-id": set})
	}
	e.live.Disks = slices.Delete(e.live.Disks, i, i+1)
	e.rec.Applied.Disks = slices.DeleteFunc(slices.Clone(e.rec.Applied.Disks), func(d Disk) bool { return d.Image == disk.Image })
	return nil
}

// MountedError says that the guest uses a disk that is to be taken out.
type MountedError struct{ Image, Where string }

func (e *MountedError) Error() string {
	return fmt.Sprintf("the guest has %s mounted at %s", e.Image, e.Where)
}

// Hint says what comes first.
func (e *MountedError) Hint() string { return "umount " + e.Where + " inside the guest" }

// Refused marks the error as a refusal for safety.
func (e *MountedError) Refused() bool { return true }

// mountedAt asks the guest's agent where a disk is mounted; "" when it is not, or nobody inside can tell.
func (e *executor) mountedAt(ctx context.Context, d RunningDisk) string {
	serial := ""
	for _, x := range e.abi.Disks {
		if x.Image == d.Image {
			serial = x.Serial
		}
	}
	a, closeAgent, err := e.agent(ctx)
	if err != nil {
		return ""
	}
	defer closeAgent()
	var mounts []struct {
		Mountpoint string
		Disk       []struct {
			Serial string
			PCI    struct {
				Bus, Slot int
			} `json:"pci-controller"`
		}
	}
	if a.Execute(ctx, "guest-get-fsinfo", nil, &mounts) != nil {
		return ""
	}
	bus := e.guestBus(ctx, d.Port)
	for _, m := range mounts {
		for _, x := range m.Disk {
			if serial != "" && x.Serial == serial || bus > 0 && x.PCI.Bus == bus {
				return m.Mountpoint
			}
		}
	}
	return ""
}

// guestBus gives the number under which the guest knows the bus behind a root port; 0: none.
func (e *executor) guestBus(ctx context.Context, port int) int {
	var buses []struct {
		Devices []struct {
			ID     string `json:"qdev_id"`
			Bridge *struct {
				Bus struct{ Secondary int }
			} `json:"pci_bridge"`
		}
	}
	if port == 0 || e.mon.Execute(ctx, "query-pci", nil, &buses) != nil {
		return 0
	}
	for _, b := range buses {
		for _, d := range b.Devices {
			if d.Bridge != nil && d.ID == fmt.Sprintf("port%d", port-1) {
				return d.Bridge.Bus.Secondary
			}
		}
	}
	return 0
}

// unplug asks the guest to let go of a device and waits until it is gone.
func (e *executor) unplug(ctx context.Context, id string) (gone bool, err error) {
	if err := e.mon.Execute(ctx, "device_del", map[string]any{"id": id}, nil); err != nil {
		return false, fmt.Errorf("unplug %s: %w", id, err)
	}
	return waitFor(ctx, guestTime, func(ctx context.Context) (bool, error) {
		there, err := e.there(ctx, id)
		return !there, err
	})
}

// there asks whether a device exists; id is a name or a path in the object tree.
func (e *executor) there(ctx context.Context, id string) (bool, error) {
	path := id
	if !strings.HasPrefix(id, "/") {
		path = peripheral + id
	}
	var kind string
	err := e.mon.Execute(ctx, "qom-get", map[string]any{"path": path, "property": "type"}, &kind)
	var refused *qmp.Error
	if errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}
