package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kvmctl/vm/qmp"
)

// liveOf asks a running guest's QEMU what the guest has.
func (h *Host) liveOf(ctx context.Context, c *qmp.Client, specs ...*Spec) (*Running, error) {
	proc, err := h.owner(specs[0].Name)
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	live, err := probe(ctx, c, proc.PID, imagesOf(specs...))
	if err != nil {
		return nil, fmt.Errorf("ask for the devices: %w", err)
	}
	return live, nil
}

// presentMachine asks a running guest for what a state of its memory, made now, will need. Disks and cards that came or went since its start
// belong to that: a restore has them on its command line, at the places that they got in the ABI lock as they were plugged in, and QEMU
// knows a device's state by its place (qdev_get_dev_path), not by its name. It refuses a guest that got hardware that no command line
// gives back, and one whose file is another machine's.
func (h *Host) presentMachine(ctx context.Context, c *qmp.Client, spec *Spec) (*pastMachine, *Prepared, *Running, error) {
	argv, err := h.StartedArgv(spec.Name)
	if err != nil {
		return nil, nil, nil, err
	}
	now, err := h.prepare(ctx, spec, argv)
	if err != nil {
		return nil, nil, nil, err
	}
	rec, err := readRecord(h.run(spec.Name, recordName))
	if err != nil { // an older kvmctl started it: nobody knows what came since
		rec = nil
	}
	known := []*Spec{spec}
	if rec != nil {
		known = append(known, &rec.Applied)
	}
	live, err := h.liveOf(ctx, c, known...)
	if err != nil {
		return nil, nil, nil, err
	}
	if !slices.Equal(pluggedAtStart(argv), pluggedNow(live)) {
		if rec == nil {
			return nil, nil, nil, &UnsavableError{"an older kvmctl changed its disks or cards while it ran: that cannot be restored", takeBack(spec.Name)}
		}
		rec.reconcile(spec, &now.ABI, live)
		if argv, err = h.grown(ctx, argv, rec, live); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := asStarted(spec.Name, argv, now.Argv); err != nil {
		return nil, nil, nil, err
	}
	if err := noOtherDevices(ctx, c, spec.Name, argv, live); err != nil {
		return nil, nil, nil, err
	}
	if err := sameROMs(ctx, c, spec, live); err != nil {
		return nil, nil, nil, err
	}
	if i := live.firstGap(); i >= 0 {
		return nil, nil, nil, &UnsavableError{fmt.Sprintf("its CPU %d is missing between others: that cannot be restored", i), "kvmctl set " + spec.Name}
	}
	past := &pastMachine{Argv: argv, Memory: live.Wanted(), CPUs: live.CPUCount()}
	if rec != nil {
		past.Unseen = rec.Unseen
	}
	return past, now, live, nil
}

// takeBack is what lets a guest be saved that cannot be as it is.
func takeBack(name string) string {
	return "take it back first, or shut the guest down: kvmctl stop " + name
}

// grown gives the command line of the machine that a guest has become since its start.
func (h *Host) grown(ctx context.Context, started []string, rec *Record, live *Running) ([]string, error) {
	is, err := h.prepare(ctx, &rec.Applied, started)
	if err != nil {
		return nil, err
	}
	if err := asStarted(rec.Applied.Name, fixedPart(started), fixedPart(is.Argv)); err != nil {
		return nil, err
	}
	return is.Argv, samePlaces(&rec.Applied, &is.ABI, live)
}

// pluggable tells of the name of a disk or a card: of all that Args makes only these come and go.
func pluggable(id string) bool {
	digits, disk := strings.CutPrefix(id, "disk")
	if !disk {
		var card bool
		if digits, card = strings.CutPrefix(id, "nic"); !card {
			return false
		}
	}
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// devicesOf gives the names of the devices on a command line.
func devicesOf(argv []string) (ids []string) {
	for i, a := range argv[:max(0, len(argv)-1)] {
		if id := optOf(argv[i+1], "id"); a == "-device" && id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// pluggedAtStart gives the disks and cards of a command line, each with what makes it that one and no other of the same name.
func pluggedAtStart(argv []string) (all []string) {
	for i, a := range argv[:max(0, len(argv)-1)] {
		value := argv[i+1]
		if id := optOf(value, "id"); a == "-device" && pluggable(id) {
			all = append(all, id+" "+optOf(value, "mac")+optOf(value, "serial"))
		}
	}
	slices.Sort(all)
	return all
}

// pluggedNow is pluggedAtStart of a guest that runs.
func pluggedNow(live *Running) (all []string) {
	for _, d := range live.Disks {
		all = append(all, d.ID+" "+d.Serial)
	}
	for _, c := range live.Cards {
		all = append(all, c.ID+" "+c.MAC.String())
	}
	slices.Sort(all)
	return all
}

// fixedPart is a command line without its disks and cards.
func fixedPart(argv []string) []string {
	var rest []string
	for i := 0; i < len(argv); i++ {
		if argv[i] == "-device" && i+1 < len(argv) && pluggable(optOf(argv[i+1], "id")) {
			i++
			continue
		}
		rest = append(rest, argv[i])
	}
	return rest
}

// samePlaces refuses a guest whose disks and cards are not those that a command line of it would have, or are not where they would be.
func samePlaces(is *Spec, abi *ABI, live *Running) error {
	for _, x := range live.Disks {
		d := diskOf(is.Disks, x.Image)
		if d == nil {
			return &UnsavableError{fmt.Sprintf("it has the disk %s (%s), which is not in its vm.toml: that cannot be restored", x.ID, x.Image), takeBack(is.Name)}
		}
		if at := abi.diskOf(*d); at.Port != x.Port || (d.Bus == BusSCSI) != x.SCSI || at.Serial != x.Serial {
			return &UnsavableError{fmt.Sprintf("its disk %s is not at the place that a start would give it: that cannot be restored", x.Image), takeBack(is.Name)}
		}
	}
	for i, d := range is.Disks {
		if !live.hasImage(d.Image) {
			return &UnsavableError{fmt.Sprintf("it lost its disk %d (%s): that cannot be restored", i, d.Image), takeBack(is.Name)}
		}
	}
	for _, x := range live.Cards {
		if i := indexOfPlace(abi.NICs[:len(is.NICs)], ABINIC{Slot: x.Slot, Port: x.Port}); i < 0 || abi.NICs[i].MAC != x.MAC {
			return &UnsavableError{fmt.Sprintf("its card %s (MAC %v) is not at the place that a start would give it: that cannot be restored", x.ID, x.MAC), takeBack(is.Name)}
		}
	}
	for i, n := range abi.NICs[:len(is.NICs)] {
		if !live.hasNIC(n.Slot, n.Port) {
			return &UnsavableError{fmt.Sprintf("it lost its card %d (MAC %v): that cannot be restored", i, n.MAC), takeBack(is.Name)}
		}
	}
	return nil
}

// noOtherDevices refuses a guest that got a device of another kind, on a monitor: a restore has it not. CPUs and memory are no such: growCPUs
// brings the ones back, and QEMU the other.
func noOtherDevices(ctx context.Context, c *qmp.Client, name string, argv []string, live *Running) error {
	var devices []qomChild
	if err := c.Execute(ctx, "qom-list", map[string]any{"path": strings.TrimSuffix(peripheral, "/")}, &devices); err != nil {
		return fmt.Errorf("ask for the devices: %w", err)
	}
	var have []string
	for _, d := range devices {
		if strings.HasPrefix(d.Type, "child<") && !strings.HasSuffix(d.Type, "-cpu>") && !live.holds(d.Name) {
			have = append(have, d.Name)
		}
	}
	return sameDevices(name, slices.DeleteFunc(devicesOf(argv), pluggable), have)
}

// holds tells of a disk or a card that samePlaces looks at.
func (r *Running) holds(id string) bool {
	return slices.ContainsFunc(r.Disks, func(d RunningDisk) bool { return d.ID == id }) ||
		slices.ContainsFunc(r.Cards, func(c RunningCard) bool { return c.ID == id })
}

// sameDevices compares the named devices of a command line with those that a guest has.
func sameDevices(guest string, started, have []string) error {
	for _, name := range have {
		if !slices.Contains(started, name) {
			return &UnsavableError{fmt.Sprintf("it got the device %s since it was started: that cannot be restored", name), takeBack(guest)}
		}
	}
	for _, name := range started {
		if !slices.Contains(have, name) {
			return &UnsavableError{fmt.Sprintf("it lost the device %s since it was started: that cannot be restored", name), takeBack(guest)}
		}
	}
	return nil
}

// sameROMs refuses a card that an older kvmctl plugged in with the ROM that network boots need, where a start gives it none: a ROM is a part
// of a state.
func sameROMs(ctx context.Context, c *qmp.Client, spec *Spec, live *Running) error {
	if slices.Contains(spec.Boot, BootNetwork) {
		return nil
	}
	p := prober{c: c}
	for _, card := range live.Cards {
		var rom string
		var refused *qmp.Error
		if err := p.get(ctx, card.ID, "romfile", &rom); err != nil && !errors.As(err, &refused) {
			return fmt.Errorf("ask for the ROM of %s: %w", card.ID, err)
		}
		if rom != "" {
			return &UnsavableError{fmt.Sprintf("its card %s has a boot ROM, which a start gives to none: that cannot be restored", card.ID),
				"take the card out and put it back (kvmctl set), or shut the guest down: kvmctl stop " + spec.Name}
		}
	}
	return nil
}
