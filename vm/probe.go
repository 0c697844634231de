package vm

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvmctl/internal/units"
	"kvmctl/vm/qmp"
)

// peripheral is where QEMU keeps the devices that have an id.
const peripheral = "/machine/peripheral/"

// qomChild is one of an object's properties (qapi/qom.json, ObjectPropertyInfo).
type qomChild struct{ Name, Type string }

// prober asks a QEMU what its guest has.
type prober struct {
	c     *qmp.Client
	pid   int
	known []string // images that vm.toml or the last start name
	r     *Running
	sets  []fdSet
	nodes []blockNode
}

// probe asks a running guest's QEMU what the guest has; known are the images that it may have.
func probe(ctx context.Context, c *qmp.Client, pid int, known []string) (*Running, error) {
	p := &prober{c: c, pid: pid, known: known, r: &Running{}}
	for _, step := range []func(context.Context) error{p.memory, p.cpus, p.blocks, p.devices, p.screen} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return p.r, nil
}

func (p *prober) memory(ctx context.Context) error {
	var sum struct {
		Base int64 `json:"base-memory"`
	}
	if err := p.c.Execute(ctx, "query-memory-size-summary", nil, &sum); err != nil {
		return err
	}
	p.r.Base, p.r.Balloon = units.Size(sum.Base), units.Size(sum.Base)
	var devices []struct {
		Type string
		Data struct {
			ID        string
			Size      int64
			Max       int64 `json:"max-size"`
			Requested int64 `json:"requested-size"`
		}
	}
	if err := p.c.Execute(ctx, "query-memory-devices", nil, &devices); err != nil {
		return err
	}
	for _, d := range devices {
		if d.Data.ID == memoryDevice {
			p.r.Plugged, p.r.Requested, p.r.Growth = units.Size(d.Data.Size), units.Size(d.Data.Requested), units.Size(d.Data.Max)
		}
	}
	var balloon struct{ Actual int64 }
	if p.c.Execute(ctx, "query-balloon", nil, &balloon) == nil { // the admin's own arguments may have removed it
		p.r.Balloon = units.Size(balloon.Actual)
	}
	return nil
}

func (p *prober) cpus(ctx context.Context) error {
	var cpus []struct {
		Type  string
		Path  string `json:"qom-path"`
		Props map[string]int
	}
	if err := p.c.Execute(ctx, "query-hotpluggable-cpus", nil, &cpus); err != nil {
		return err
	}
	for _, c := range cpus {
		delete(c.Props, "node-id") // device_add wants only what the others do not imply
		p.r.CPUs = append(p.r.CPUs, CPU{Path: c.Path, Type: c.Type, Props: c.Props})
	}
	slices.SortStableFunc(p.r.CPUs, func(a, b CPU) int { // the newest first, as QEMU lists them, would count down
		for _, k := range []string{"socket-id", "core-id", "thread-id"} {
			if d := a.Props[k] - b.Props[k]; d != 0 {
				return d
			}
		}
		return 0
	})
	return nil
}

// number gives the digits at the end of an id.
func number(id string) int {
	n, err := strconv.Atoi(strings.TrimLeft(id, "abcdefghijklmnopqrstuvwxyz"))
	if err != nil {
		return 0
	}
	return n
}

// devices learns what sits where.
func (p *prober) devices(ctx context.Context) error {
	var children []qomChild
	if err := p.c.Execute(ctx, "qom-list", map[string]any{"path": strings.TrimSuffix(peripheral, "/")}, &children); err != nil {
		return err
	}
	p.r.PC = true
	for _, c := range children {
		kind, ok := strings.CutPrefix(c.Type, "child<")
		kind = strings.TrimSuffix(kind, ">")
		if !ok {
			continue
		}
		p.r.Taken = append(p.r.Taken, c.Name)
		if kind == "pcie-root-port" {
			p.r.PC = false
			continue
		}
		if kind == "virtio-scsi-pci" && c.Name == scsiController {
			p.r.SCSI = true
		}
		bus := ""
		if p.get(ctx, c.Name, "parent_bus", &bus) != nil {
			continue // no device: an object
		}
		port := 0
		if _, at, ok := strings.Cut(bus, peripheral+"port"); ok {
			n, _, _ := strings.Cut(at, "/")
			if i, err := strconv.Atoi(n); err == nil && i >= 0 && i < rootPorts {
				port = i + 1
				p.r.Ports = append(p.r.Ports, port)
			}
		}
		if err := p.device(ctx, c.Name, kind, bus, port); err != nil {
			return err
		}
	}
	p.stale()
	slices.SortFunc(p.r.Cards, func(a, b RunningCard) int { return number(a.ID) - number(b.ID) })
	slices.Sort(p.r.Ports)
	return nil
}

func (p *prober) device(ctx context.Context, id, kind, bus string, port int) error {
	for i := range p.r.Disks {
		if d := &p.r.Disks[i]; d.ID == id {
			d.Port, d.SCSI = port, kind == "scsi-hd"
			_ = p.get(ctx, id, "serial", &d.Serial) // QEMU gives none where there is none
		}
	}
	if !strings.HasPrefix(id, "nic") || !slices.Contains([]string{"virtio-net-pci", "e1000", "rtl8139"}, kind) {
		return nil
	}
	card := RunningCard{ID: id, Port: port}
	var mac string
	var devfn int
	if err := p.get(ctx, id, "mac", &mac); err != nil {
		return err
	}
	if err := p.get(ctx, id, "addr", &devfn); err != nil {
		return err
	}
	var err error
	if card.MAC, err = units.ParseMAC(mac); err != nil {
		return fmt.Errorf("ask for the MAC address of %s: %w", id, err)
	}
	if port == 0 {
		card.Slot = devfn >> 3
	}
	p.r.Cards = append(p.r.Cards, card)
	return nil
}

func (p *prober) get(ctx context.Context, id, property string, v any) error {
	return p.c.Execute(ctx, "qom-get", map[string]any{"path": peripheral + id, "property": property}, v)
}

func (p *prober) screen(ctx context.Context) error {
	var v struct {
		Enabled bool
		Auth    string
	}
	if p.c.Execute(ctx, "query-vnc", nil, &v) == nil { // a QEMU built without VNC does not know it
		p.r.VNC, p.r.VNCPassword = v.Enabled, strings.Contains(v.Auth, "vnc")
	}
	return nil
}
