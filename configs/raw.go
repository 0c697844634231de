package configs

import (
	"net/netip"
	"reflect"
	"sync"

	"kvmctl/configs/strict"
	"kvmctl/internal/units"
)

// The raw structs have the shape of the files; a nil field was not set. Their tags are all that bind needs:
// toml (the key), enum (the only values), range (of a number, size or duration), eg (an example for messages),
// empty:"ok" and lines:"ok" (strings that may be empty, or have several lines).

type rawGuest struct {
	Description *string         `toml:"description" empty:"ok" lines:"ok"`
	Memory      *units.Size     `toml:"memory" range:"4M..4T" eg:"512M"`
	MemoryMax   *units.Size     `toml:"memory_max" range:"4M..16T" eg:"2048M"`
	CPUs        *int            `toml:"cpus" range:"1..255"`
	CPUsMax     *int            `toml:"cpus_max" range:"1..255"`
	Accel       *string         `toml:"accel" enum:"auto kvm tcg"`
	Machine     *string         `toml:"machine"`
	Firmware    *string         `toml:"firmware" enum:"bios uefi"`
	Kernel      *string         `toml:"kernel"`
	Initrd      *string         `toml:"initrd"`
	Cmdline     *string         `toml:"cmdline" empty:"ok"`
	Boot        []string        `toml:"boot" enum:"disk cdrom network"`
	Autostart   *bool           `toml:"autostart"`
	Order       *int            `toml:"order" range:"0..9999"`
	After       []string        `toml:"after"`
	StartDelay  *units.Duration `toml:"start_delay" range:"0s..1h" eg:"5s"`
	Ready       *string         `toml:"ready"`
	ReadyTime   *units.Duration `toml:"ready_timeout" range:"1s..24h" eg:"2m"`
	StopTimeout *units.Duration `toml:"stop_timeout" range:"0s..24h" eg:"30s"`
	QEMUArgs    []string        `toml:"qemu_args" empty:"ok" words:"ok"`
	VNC         rawVNC          `toml:"vnc"`
	Disks       []rawDisk       `toml:"disk"`
	CDROMs      []rawCDROM      `toml:"cdrom"`
	NICs        []rawNIC        `toml:"nic"`
	Guest       rawInside       `toml:"guest"`
	Hooks       rawHooks        `toml:"hooks"`
	Limits      rawLimits       `toml:"limits"`
}

type rawVNC struct {
	Display      *strict.DisplayValue `toml:"display" range:"0..59635"` // 5900 + 59635 is the last port
	Listen       *netip.Addr          `toml:"listen" eg:"127.0.0.1"`
	Socket       *bool                `toml:"socket"`
	PasswordFile *string              `toml:"password_file"`
	TLS          *string              `toml:"tls"`
}

type rawDisk struct {
	Image    *string     `toml:"image"`
	Size     *units.Size `toml:"size" range:"512..1024T" eg:"8G"`
	Format   *string     `toml:"format" enum:"qcow2 raw"`
	Bus      *string     `toml:"bus" enum:"virtio scsi sata"`
	Cache    *string     `toml:"cache" enum:"none writeback writethrough unsafe"`
	Discard  *bool       `toml:"discard"`
	ReadOnly *bool       `toml:"readonly"`
}

type rawCDROM struct {
	Image *string `toml:"image" empty:"ok"`
}

type rawNIC struct {
	Bridge *string          `toml:"bridge"`
	MAC    *strict.MACValue `toml:"mac"`
	Model  *string          `toml:"model" enum:"virtio e1000 rtl8139"`
	Queues *int             `toml:"queues" range:"1..16"`
	VHost  *string          `toml:"vhost" enum:"auto on off"`
	VLAN   *int             `toml:"vlan" range:"1..4094"`
	Trunk  units.VLANs      `toml:"trunk" eg:"[10, \"20-29\"]"`
	Spoof  *bool            `toml:"spoof"`
	CARP   []int            `toml:"carp" range:"1..255" eg:"[1]"`
	Rate   *units.Rate      `toml:"rate" range:"64kbit..32Gbit" eg:"100Mbit"`
}

type rawInside struct {
	Profile *string     `toml:"profile" enum:"linux freebsd windows other"`
	Agent   *bool       `toml:"agent"`
	Address *netip.Addr `toml:"address" eg:"10.2.0.210"`
}

type rawHooks struct {
	PreStart  *string         `toml:"pre_start"`
	PostStart *string         `toml:"post_start"`
	PreStop   *string         `toml:"pre_stop"`
	PostStop  *string         `toml:"post_stop"`
	OnCrash   *string         `toml:"on_crash"`
	Timeout   *units.Duration `toml:"timeout" range:"1ms..1h" eg:"30s"`
}

type rawHost struct {
	UIDBase        *int            `toml:"uid_base" range:"1000..2000000000"`
	QEMU           *string         `toml:"qemu"`
	RecorderSize   *units.Size     `toml:"recorder_size" range:"64K..64M" eg:"256K"`
	ConsoleSize    *units.Size     `toml:"console_size" range:"64K..1G" eg:"4M"`
	HistorySize    *units.Size     `toml:"history_size" range:"64K..1G" eg:"1M"`
	ShutdownBudget *units.Duration `toml:"shutdown_budget" range:"0s..29m" eg:"5m"`
	Defaults       rawDefaults     `toml:"defaults"`
	Hooks          rawHooks        `toml:"hooks"`
	Bridges        []rawBridge     `toml:"bridge"`
}

type rawDefaults struct {
	Accel       *string         `toml:"accel" enum:"auto kvm tcg"`
	StopTimeout *units.Duration `toml:"stop_timeout" range:"0s..24h" eg:"30s"`
	VNCListen   *netip.Addr     `toml:"vnc_listen" eg:"127.0.0.1"`
}

type rawBridge struct {
	Name          *string              `toml:"name"`
	Uplink        *string              `toml:"uplink"`
	Address       *strict.AddressValue `toml:"address" eg:"10.2.0.1/24"`
	MAC           *strict.MACValue     `toml:"mac"`
	MTU           *int                 `toml:"mtu" range:"68..65535"`
	STP           *bool                `toml:"stp"`
	VLANFiltering *bool                `toml:"vlan_filtering"`
}

var (
	guestSchema = sync.OnceValue(func() *strict.Schema { return strict.SchemaOf(reflect.TypeFor[rawGuest]()) })
	hostSchema  = sync.OnceValue(func() *strict.Schema { return strict.SchemaOf(reflect.TypeFor[rawHost]()) })
)
