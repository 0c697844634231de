package vm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"kvmctl/internal/units"
)

// smallGuest is a guest too small for headroom by default: memory that may be added lies above 4 GiB, and a Linux guest that
// expects memory there sets 64 MiB aside for bounce buffers (SWIOTLB). A guest of 128M does not boot for want of them.
const smallGuest = 256 * units.MiB

// MemoryBlock is virtio-mem's step: what memory may grow by is a multiple of it.
const MemoryBlock = 2 * units.MiB

// Largest values, for the defaults that are made of others; MostCPUs also bounds what vm.toml may name.
const (
	mostMemory = 16 * units.TiB
	MostCPUs   = 255
)

// DefaultMemoryMax is four times the memory, the growth rounded up to whole virtio-mem blocks; a small guest cannot grow.
func DefaultMemoryMax(memory units.Size) units.Size {
	if memory < smallGuest {
		return memory
	}
	growth := min(3*memory, max(0, mostMemory-memory))
	return memory + (growth+MemoryBlock-1)/MemoryBlock*MemoryBlock
}

// DefaultCPUsMax is twice the CPUs.
func DefaultCPUsMax(cpus int) int { return min(2*cpus, MostCPUs) }

// setting is one key of vm.toml with its value in words; "" where there is none.
type setting struct{ key, value string }

// atOnce are the keys that kvmctl itself reads each time: a change of them needs nothing of a running guest. What ends in a dot is a table.
var atOnce = []string{"name", "description", "autostart", "order", "after", "start_delay", "stop_timeout", "guest.address", "hooks."}

func needsNothing(key string) bool {
	for _, k := range atOnce {
		if key == k || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k) {
			return true
		}
	}
	return false
}

// settings gives everything about a guest that is no device, in vm.toml's keys. memory_max and cpus_max are left out where they only
// follow memory and cpus.
func (s *Spec) settings() []setting {
	var all []setting
	v := reflect.ValueOf(*s)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Name == "Disks", f.Name == "CDROMs", f.Name == "NICs", f.Name == "Ready", // which kvmctl itself looks at
			f.Name == "MemoryMax" && s.MemoryMax == DefaultMemoryMax(s.Memory),
			f.Name == "CPUsMax" && s.CPUsMax == DefaultCPUsMax(s.CPUs):
		case f.Name == "VNC":
			all = append(all, setting{"vnc.display", s.VNC.display()})
			if s.VNC.Enabled {
				all = append(all, setting{"vnc.listen", words(v.Field(i).FieldByName("Listen"))})
			}
			all = append(all, setting{"vnc.password_file", s.VNC.PasswordFile})
			all = append(all, fields("vnc.", v.Field(i), "Enabled", "Auto", "Display", "Listen", "PasswordFile")...)
		case f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[netip.Addr]():
			all = append(all, fields(tomlKey(f.Name)+".", v.Field(i))...)
		default:
			all = append(all, setting{tomlKey(f.Name), words(v.Field(i))})
		}
	}
	return all
}

func (v VNC) display() string {
	switch {
	case !v.Enabled:
		return "none"
	case v.Auto:
		return "auto"
	}
	return strconv.Itoa(v.Display)
}

// fields gives a struct's fields but those left out.
func fields(prefix string, v reflect.Value, but ...string) []setting {
	var all []setting
next:
	for i := range v.NumField() {
		f := v.Type().Field(i)
		for _, b := range but {
			if b == f.Name {
				continue next
			}
		}
		all = append(all, setting{prefix + tomlKey(f.Name), words(v.Field(i))})
	}
	return all
}

// tomlKey gives a field's key in vm.toml: MemoryMax is memory_max, CPUsMax cpus_max, QEMUArgs qemu_args, MAC mac, ReadOnly readonly.
func tomlKey(field string) string {
	if field == "ReadOnly" {
		return "readonly"
	}
	field = strings.NewReplacer("CPUs", "Cpus", "QEMU", "Qemu", "VHost", "Vhost").Replace(field)
	r := []rune(field)
	var b strings.Builder
	for i, c := range r {
		if unicode.IsUpper(c) && i > 0 && (unicode.IsLower(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// words gives a value as vm.toml would have it, without quotes.
func words(v reflect.Value) string {
	if v.IsZero() && v.Kind() != reflect.Bool && v.Kind() != reflect.Int {
		return ""
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case fmt.Stringer:
		return x.String()
	}
	if v.Kind() == reflect.Slice {
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = words(v.Index(i))
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(v.Interface())
}

// Digest tells specs apart whose guests would differ while they run: what takes effect without the guest is not in it.
func (s *Spec) Digest() string {
	h := sha256.New()
	for _, x := range s.settings() {
		if !needsNothing(x.key) {
			fmt.Fprintf(h, "%q=%q\n", x.key, x.value)
		}
	}
	for _, d := range s.Disks {
		for _, x := range d.settings() {
			fmt.Fprintf(h, "disk %q=%q\n", x.key, x.value)
		}
	}
	for _, c := range s.CDROMs {
		fmt.Fprintf(h, "cdrom %q\n", c.Image)
	}
	for _, n := range s.NICs {
		for _, x := range n.settings() {
			fmt.Fprintf(h, "nic %q=%q\n", x.key, x.value)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// settings are a disk's but its size, which means something only to whoever makes the image.
func (d Disk) settings() []setting { return fields("", reflect.ValueOf(d), "Size") }
func (n NIC) settings() []setting  { return fields("", reflect.ValueOf(n), "Number") }
