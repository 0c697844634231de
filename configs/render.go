package configs

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kvmctl/configs/strict"
	"kvmctl/internal/units"
	"kvmctl/vm"
)

// RenderGuest writes the vm.toml of a valid guest: memory, cpus, disks and NICs, and of the rest what differs from the
// defaults of host. ParseGuest makes the same spec of it.
func RenderGuest(spec vm.Spec, host Host) []byte {
	state := filepath.Join(host.Root+stateDir, spec.Name)
	beside := filepath.Join(host.Root+configDir, spec.Name)
	def := defaultSpec(spec.Name, host)
	var w writer
	w.line("# Guest %s. `kvmctl check %s` finds mistakes in this file.", spec.Name, spec.Name)
	w.line("# Relative paths of images and kernels are below %s/.", state)
	w.text("description", spec.Description, "")
	w.line("memory = %q", spec.Memory)
	w.size("memory_max", spec.MemoryMax, defaultMemoryMax(spec.Memory))
	w.line("cpus = %d", spec.CPUs)
	w.number("cpus_max", spec.CPUsMax, defaultCPUsMax(spec.CPUs))
	w.text("accel", string(spec.Accel), string(def.Accel))
	w.text("machine", spec.Machine, def.Machine)
	w.text("firmware", string(spec.Firmware), string(def.Firmware))
	w.text("kernel", relative(spec.Kernel, state), "")
	w.text("initrd", relative(spec.Initrd, state), "")
	w.text("cmdline", spec.Cmdline, "")
	if !slices.Equal(spec.Boot, def.Boot) {
		w.line("boot = %s", strict.List(spec.Boot))
	}
	w.flag("autostart", spec.Autostart, def.Autostart)
	w.number("order", spec.Order, def.Order)
	if len(spec.After) > 0 {
		w.line("after = %s", strict.List(spec.After))
	}
	w.duration("start_delay", spec.StartDelay, def.StartDelay)
	w.text("ready", spec.Ready.String(), "")
	if !spec.Ready.IsZero() {
		w.duration("ready_timeout", spec.Ready.Timeout, defaultReadyTime)
	}
	w.duration("stop_timeout", spec.StopTimeout, def.StopTimeout)
	if len(spec.QEMUArgs) > 0 {
		w.line("qemu_args = %s", strict.List(spec.QEMUArgs))
	}
	renderVNC(&w, spec.VNC, def.VNC, beside)
	for _, d := range spec.Disks {
		renderDisk(&w, d, state)
	}
	for _, c := range spec.CDROMs {
		w.table("[[cdrom]]")
		w.text("image", relative(c.Image, state), "")
	}
	for _, n := range spec.NICs {
		renderNIC(&w, n)
	}
	w.table("[guest]")
	w.text("profile", spec.Guest.Profile, def.Guest.Profile)
	w.flag("agent", spec.Guest.Agent, def.Guest.Agent)
	if spec.Guest.Address.IsValid() {
		w.line("address = %q", spec.Guest.Address)
	}
	w.endTable("[guest]")
	w.table("[hooks]")
	w.text("pre_start", relative(spec.Hooks.PreStart, beside), "")
	w.text("post_start", relative(spec.Hooks.PostStart, beside), "")
	w.text("pre_stop", relative(spec.Hooks.PreStop, beside), "")
	w.text("post_stop", relative(spec.Hooks.PostStop, beside), "")
	w.text("on_crash", relative(spec.Hooks.OnCrash, beside), "")
	w.duration("timeout", spec.Hooks.Timeout, def.Hooks.Timeout)
	w.endTable("[hooks]")
	renderLimits(&w, spec.Limits)
	return w.Bytes()
}

func renderVNC(w *writer, v, def vm.VNC, beside string) {
	w.table("[vnc]")
	switch {
	case !v.Enabled:
		w.line(`display = "none"`)
	case !v.Auto:
		w.line("display = %d # TCP port %d", v.Display, 5900+v.Display)
	}
	if v.Listen != def.Listen {
		w.line("listen = %q", v.Listen)
	}
	w.flag("socket", v.Socket, def.Socket)
	w.text("password_file", relative(v.PasswordFile, beside), "")
	w.text("tls", relative(v.TLS, beside), "")
	w.endTable("[vnc]")
}

func renderDisk(w *writer, d vm.Disk, state string) {
	def := defaultDisk()
	w.table("[[disk]]")
	w.text("image", relative(d.Image, state), "")
	w.size("size", d.Size, 0)
	w.text("format", d.Format, def.Format)
	w.text("bus", string(d.Bus), string(def.Bus))
	w.text("cache", d.Cache, def.Cache)
	w.flag("discard", d.Discard, def.Discard)
	w.flag("readonly", d.ReadOnly, def.ReadOnly)
}

func renderNIC(w *writer, n vm.NIC) {
	def := defaultNIC()
	w.table("[[nic]]")
	w.text("bridge", n.Bridge, "")
	if !n.MAC.IsZero() {
		w.line("mac = %q", n.MAC)
	}
	w.text("model", n.Model, def.Model)
	w.number("queues", n.Queues, def.Queues)
	w.text("vhost", n.VHost.String(), def.VHost.String())
	w.number("vlan", n.VLAN, def.VLAN)
	if len(n.Trunk) > 0 {
		w.line("trunk = %s", vlanList(n.Trunk))
	}
	w.flag("spoof", n.Spoof, def.Spoof)
	if len(n.CARP) > 0 {
		w.line("carp = %s", strings.ReplaceAll(fmt.Sprint(n.CARP), " ", ", "))
	}
	if n.Rate != def.Rate {
		w.line("rate = %q", n.Rate)
	}
}

// vlanList writes ids as numbers and ranges as strings.
func vlanList(v units.VLANs) string {
	words := make([]string, len(v))
	for i, r := range v {
		words[i] = r.String()
		if r.First != r.Last {
			words[i] = strict.Quote(words[i])
		}
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// relative shortens a path below dir, unless it would be read as another.
func relative(path, dir string) string {
	if rest, ok := strings.CutPrefix(path, dir+"/"); ok && filepath.Join(dir, rest) == path {
		return rest
	}
	return path
}

// writer writes keys whose value is not the default.
type writer struct{ bytes.Buffer }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *writer) table(header string) { w.line("\n%s", header) }

// endTable takes the header back when nothing followed it.
func (w *writer) endTable(header string) {
	if empty := "\n" + header + "\n"; bytes.HasSuffix(w.Bytes(), []byte(empty)) {
		w.Truncate(w.Len() - len(empty))
	}
}

func (w *writer) text(key, value, def string) {
	if value != def {
		w.line("%s = %s", key, strict.Quote(value))
	}
}

func (w *writer) number(key string, value, def int) {
	if value != def {
		w.line("%s = %d", key, value)
	}
}

func (w *writer) flag(key string, value, def bool) {
	if value != def {
		w.line("%s = %t", key, value)
	}
}

func (w *writer) size(key string, value, def units.Size) {
	if value != def {
		w.line("%s = %q", key, value)
	}
}

func (w *writer) duration(key string, value, def time.Duration) {
	if value != def {
		w.line("%s = %q", key, strict.Short(value))
	}
}
