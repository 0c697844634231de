package vm

import (
	"fmt"
	"slices"
)

// Why a device waits for the next start.
const (
	onRootBus  = "it sits on the root bus, which has no hotplug"
	noSATA     = "SATA knows no hotplug here: bus = \"virtio\" or \"scsi\" does"
	noSCSI     = "the guest was started without a SCSI controller: bus = \"virtio\" needs none"
	otherImage = "the image of an attached disk is " + fixed
	noPort     = "all root ports are in use"
)

func diskOf(disks []Disk, image string) *Disk {
	if i := slices.IndexFunc(disks, func(d Disk) bool { return d.Image == image }); i >= 0 {
		return &disks[i]
	}
	return nil
}

func (p *planner) disks() {
	for i, d := range p.file.Disks {
		key := fmt.Sprintf("disk.%d", i)
		started, applied := diskOf(p.rec.Started.Disks, d.Image), diskOf(p.rec.Applied.Disks, d.Image)
		switch {
		case p.live != nil && !p.live.hasImage(d.Image):
			c := Change{Key: key, File: d.Image, When: WhenNow, op: opAddDisk, at: i}
			if started != nil {
				c.Started = started.Image
			}
			c.When, c.Reason = p.diskComes(i, d)
			p.add(c)
		case p.live == nil && started == nil:
			p.add(Change{Key: key, File: d.Image})
		default:
			p.attributes(key, "image", d.settings(), settingsOf(started), settingsOf(applied))
		}
	}
	if p.live == nil {
		for _, d := range p.rec.Started.Disks {
			if diskOf(p.file.Disks, d.Image) == nil {
				p.add(Change{Key: "disk", Started: d.Image})
			}
		}
		return
	}
	for _, d := range p.live.Disks {
		if diskOf(p.file.Disks, d.Image) != nil {
			continue
		}
		c := Change{Key: "disk", Live: d.Image, When: WhenNow, op: opRemoveDisk, id: d.ID}
		if s := diskOf(p.rec.Started.Disks, d.Image); s != nil {
			c.Started = s.Image
		}
		if !p.live.unpluggable(d) {
			c.When, c.Reason = WhenStart, onRootBus
		}
		p.add(c)
	}
}

// diskComes tells when a new disk can come.
func (p *planner) diskComes(i int, d Disk) (When, string) {
	switch {
	case d.Bus == BusSATA:
		return WhenStart, noSATA
	case d.Bus == BusSCSI && !p.live.SCSI:
		return WhenStart, noSCSI
	}
	if i < len(p.rec.Applied.Disks) { // it takes the place of another
		old := p.rec.Applied.Disks[i].Image
		for _, x := range p.live.Disks {
			if x.Image == old && diskOf(p.file.Disks, old) == nil && !p.live.unpluggable(x) {
				return WhenStart, otherImage
			}
		}
	}
	if d.Bus == BusVirtio && !p.live.PC && p.pinned.diskOf(d).Port == 0 {
		return WhenStart, noPort
	}
	return WhenNow, ""
}

// settingsOf gives the settings of a device that may not be there.
func settingsOf[T interface{ settings() []setting }](d *T) []setting {
	if d == nil {
		return nil
	}
	return (*d).settings()
}

// attributes compares a device that is there with the file's, key by key; main is the key without which it means nothing, and stands for
// the whole of a device that came after the start.
func (p *planner) attributes(prefix, main string, file, started, applied []setting) {
	find := func(all []setting, key string) string {
		for _, x := range all {
			if x.key == key {
				return x.value
			}
		}
		return ""
	}
	if started == nil {
		p.add(Change{Key: prefix, File: find(file, main), Live: find(applied, main)})
		started = applied
	}
	for _, x := range file {
		p.add(Change{Key: prefix + "." + x.key, File: x.value, Started: find(started, x.key), Live: find(applied, x.key), When: WhenStart, Reason: fixed})
	}
}

func (p *planner) cdroms() {
	at := func(list []CDROM, i int) string {
		switch {
		case i >= len(list):
			return ""
		case list[i].Image == "":
			return "empty"
		}
		return list[i].Image
	}
	for i := range max(len(p.file.CDROMs), len(p.rec.Started.CDROMs), len(p.rec.Applied.CDROMs)) {
		c := Change{Key: fmt.Sprintf("cdrom.%d.image", i), File: at(p.file.CDROMs, i), Started: at(p.rec.Started.CDROMs, i),
			Live: at(p.rec.Applied.CDROMs, i), When: WhenStart, Reason: "a drive comes and goes with a start", at: i}
		if p.live != nil {
			c.Live = ""
			for _, cd := range p.live.CDROMs {
				if cd.ID == fmt.Sprintf("cd%d", i) {
					c.Live, c.id = at([]CDROM{{cd.Image}}, 0), cd.ID
				}
			}
			if c.File != "" && c.Live != "" {
				c.When, c.Reason, c.op = WhenNow, "", opDisc
			}
		}
		p.add(c)
	}
}

// cardAt finds the card of a place in a list that runs beside nics.
func cardAt(nics []NIC, places []ABINIC, at ABINIC) *NIC {
	for i, x := range places {
		if x.Slot == at.Slot && x.Port == at.Port {
			n := nics[i]
			if n.MAC.IsZero() {
				n.MAC = x.MAC
			}
			return &n
		}
	}
	return nil
}

func (p *planner) nics() {
	for i, n := range p.file.NICs {
		key, place := fmt.Sprintf("nic.%d", i), p.pinned.NICs[i]
		started, applied := cardAt(p.rec.Started.NICs, p.rec.Before, place), cardAt(p.rec.Applied.NICs, p.rec.Cards, place)
		if n.MAC.IsZero() {
			n.MAC = place.MAC
		}
		there := p.live != nil && p.live.hasNIC(place.Slot, place.Port)
		switch {
		case p.live != nil && !there:
			c := Change{Key: key, File: n.Bridge, When: WhenNow, op: opAddNIC, at: i}
			switch {
			case !p.live.PC && place.Port == 0:
				c.When, c.Reason = WhenStart, noPort
			case n.Model != "virtio" && !p.live.PC:
				c.When, c.Reason = WhenStart, "only virtio cards can be added while it runs"
			}
			p.add(c)
		case p.live == nil && started == nil:
			p.add(Change{Key: key, File: n.Bridge})
		default:
			p.attributes(key, "bridge", n.settings(), settingsOf(started), settingsOf(applied))
			p.rateNow(key+".rate", i, place)
		}
	}
	if p.live == nil {
		for i, n := range p.rec.Started.NICs {
			if !p.wantsCard(p.rec.Before[i].Slot, p.rec.Before[i].Port) {
				p.add(Change{Key: "nic", Started: n.Bridge})
			}
		}
		return
	}
	for _, card := range p.live.Cards {
		if p.wantsCard(card.Slot, card.Port) {
			continue
		}
		c := Change{Key: "nic", Live: "MAC " + card.MAC.String(), When: WhenNow, op: opRemoveNIC, id: card.ID}
		at := ABINIC{Slot: card.Slot, Port: card.Port}
		if n := cardAt(p.rec.Started.NICs, p.rec.Before, at); n != nil {
			c.Started = n.Bridge
		}
		if n := cardAt(p.rec.Applied.NICs, p.rec.Cards, at); n != nil {
			c.Live = n.Bridge + ", " + c.Live
		}
		if card.Port == 0 && !p.live.PC {
			c.When, c.Reason = WhenStart, onRootBus
		}
		p.add(c)
	}
}

// rateNow makes the last change one that can be had now, if it is about a card's rate: that is the host's affair alone.
func (p *planner) rateNow(key string, i int, place ABINIC) {
	for k := range p.changes {
		if c := &p.changes[k]; c.Key == key && p.live != nil && c.When == WhenStart {
			card := slices.IndexFunc(p.live.Cards, func(x RunningCard) bool { return x.Slot == place.Slot && x.Port == place.Port })
			c.When, c.Reason, c.op, c.at, c.id = WhenNow, "", opRate, i, p.live.Cards[card].ID
		}
	}
}

// wantsCard tells whether the file has a card at a place.
func (p *planner) wantsCard(slot, port int) bool {
	return slices.ContainsFunc(p.pinned.NICs[:len(p.file.NICs)], func(x ABINIC) bool { return x.Slot == slot && x.Port == port })
}
