package hostcmd

import (
	"net/netip"
	"strconv"

	"kvmctl/vm"
)

// guestJSON is a guest in `show --json`: the keys of vm.toml where they mean the same, sizes in bytes, times in seconds.
type guestJSON struct {
	Name           string     `json:"name"`
	File           string     `json:"file"`
	Description    string     `json:"description,omitempty"`
	Memory         int64      `json:"memory_bytes"`
	MemoryMax      int64      `json:"memory_max_bytes"`
	CPUs           int        `json:"cpus"`
	CPUsMax        int        `json:"cpus_max"`
	Accel          string     `json:"accel"`
	Machine        string     `json:"machine"`
	Firmware       string     `json:"firmware"`
	Kernel         string     `json:"kernel,omitempty"`
	Initrd         string     `json:"initrd,omitempty"`
	Cmdline        string     `json:"cmdline,omitempty"`
	Boot           []string   `json:"boot"`
	Autostart      bool       `json:"autostart"`
	Order          int        `json:"order"`
	After          []string   `json:"after"`
	StartDelay     float64    `json:"start_delay_seconds"`
	Ready          string     `json:"ready,omitempty"`
	ReadyTimeout   float64    `json:"ready_timeout_seconds,omitempty"`
	StopTimeout    float64    `json:"stop_timeout_seconds"`
	VNC            vncJSON    `json:"vnc"`
	Disks          []diskJSON `json:"disks"`
	CDROMs         []string   `json:"cdroms"`
	NICs           []nicJSON  `json:"nics"`
	Profile        string     `json:"profile"`
	Agent          bool       `json:"agent"`
	Address        string     `json:"address,omitempty"`
	QEMUArgs       []string   `json:"qemu_args"`
	Limits         limitsJSON `json:"limits,omitzero"`
	UUID           string     `json:"uuid,omitempty"`       // from the first start on
	UIDNumber      int        `json:"uid_number,omitempty"` // likewise
	MachineVersion string     `json:"machine_version,omitempty"`
}

type vncJSON struct {
	Display  string `json:"display"` // auto, none, socket or a number
	Listen   string `json:"listen,omitempty"`
	Socket   bool   `json:"socket"`
	Password bool   `json:"password"`
	TLS      bool   `json:"tls"`
}

type diskJSON struct {
	Image    string `json:"image"`
	Format   string `json:"format"`
	Bus      string `json:"bus"`
	Cache    string `json:"cache"`
	Discard  bool   `json:"discard"`
	ReadOnly bool   `json:"readonly"`
}

type nicJSON struct {
	Bridge string `json:"bridge"`
	MAC    string `json:"mac,omitempty"` // with "auto" from the first start on
	Model  string `json:"model"`
	Queues int    `json:"queues"`
	VHost  string `json:"vhost"` // auto, on or off
	VLAN   int    `json:"vlan,omitempty"`
	Trunk  string `json:"trunk,omitempty"` // ids and ranges: 10,20-29
	Spoof  bool   `json:"spoof"`
	CARP   []int  `json:"carp"`
	Rate   int64  `json:"rate_bits_per_second,omitempty"`
}

func newGuestJSON(s *vm.Spec, abi *vm.ABI, file string) guestJSON {
	memory, cpus := abi.Room(s)
	g := guestJSON{
		Name: s.Name, File: file, Description: s.Description, Memory: int64(s.Memory), MemoryMax: int64(memory), CPUs: s.CPUs,
		CPUsMax: cpus, Accel: string(s.Accel), Machine: s.Machine, Firmware: string(s.Firmware), Kernel: s.Kernel, Initrd: s.Initrd,
		Cmdline: s.Cmdline, Boot: []string{}, Autostart: s.Autostart, Order: s.Order, After: append([]string{}, s.After...),
		StartDelay: s.StartDelay.Seconds(), Ready: s.Ready.String(), ReadyTimeout: s.Ready.Timeout.Seconds(), StopTimeout: s.StopTimeout.Seconds(), VNC: newVNCJSON(s.VNC), Disks: []diskJSON{}, CDROMs: []string{},
		NICs: []nicJSON{}, Profile: s.Guest.Profile, Agent: s.Guest.Agent, Address: addr(s.Guest.Address), QEMUArgs: append([]string{}, s.QEMUArgs...),
	}
	g.Limits = limitsJSON{s.Limits.CPU, s.Limits.CPUWeight, int64(s.Limits.Memory), s.Limits.IOWeight, s.Limits.Tasks}
	for _, b := range s.Boot {
		g.Boot = append(g.Boot, string(b))
	}
	for _, d := range s.Disks {
		g.Disks = append(g.Disks, diskJSON{d.Image, d.Format, string(d.Bus), d.Cache, d.Discard, d.ReadOnly})
	}
	for _, c := range s.CDROMs {
		g.CDROMs = append(g.CDROMs, c.Image)
	}
	for i, n := range s.NICs {
		mac := n.MAC
		if mac.IsZero() && abi != nil && i < len(abi.NICs) {
			mac = abi.NICs[i].MAC
		}
		j := nicJSON{Bridge: n.Bridge, Model: n.Model, Queues: n.Queues, VHost: n.VHost.String(), VLAN: n.VLAN, Trunk: n.Trunk.String(),
			Spoof: n.Spoof, CARP: append([]int{}, n.CARP...), Rate: int64(n.Rate)}
		if !mac.IsZero() {
			j.MAC = mac.String()
		}
		g.NICs = append(g.NICs, j)
	}
	if abi != nil {
		g.UUID, g.UIDNumber, g.MachineVersion = abi.UUID, abi.UID, abi.Machine
	}
	return g
}

func newVNCJSON(v vm.VNC) vncJSON {
	j := vncJSON{Display: "none"}
	if v.Enabled {
		j = vncJSON{Display: "auto", Listen: addr(v.Listen), Socket: v.Socket, Password: v.PasswordFile != "", TLS: v.TLS != ""}
		switch {
		case v.Socket:
			j.Display, j.Listen = "socket", ""
		case !v.Auto:
			j.Display = strconv.Itoa(v.Display)
		}
	}
	return j
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
