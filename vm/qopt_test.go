package vm

import (
	"strings"
	"testing"
)

// qemuOpts reads an option argument as QEMU does (util/qemu-option.c, get_opt_value): a comma ends a value unless it is doubled.
func qemuOpts(s string) []string {
	var fields []string
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != ',' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == ',' {
			b.WriteByte(',')
			i++
			continue
		}
		fields = append(fields, b.String())
		b.Reset()
	}
	return append(fields, b.String())
}

func FuzzOpt(f *testing.F) {
	for _, s := range []string{"", ",", ",,", "a,readonly=on", "a,,b", `"'`, "=", ",=,", "ü,\x00"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		got := newOpt("head").set("first", a).on("switch", true).set("second", b).on("last", false).String()
		fields := qemuOpts(got)
		want := []string{"head", "first=" + a, "switch=on", "second=" + b, "last=off"}
		if len(fields) != len(want) {
			t.Fatalf("%q is read as %d options: %q", got, len(fields), fields)
		}
		for i := range want {
			if fields[i] != want[i] {
				t.Errorf("%q: option %d is read as %q, want %q", got, i, fields[i], want[i])
			}
		}
	})
}

// Whatever a guest is called and wherever its files lie, the number of options of each argument is that of a harmless guest.
func FuzzArgsOfStrangeNames(f *testing.F) {
	f.Add("a,b", "/srv/x,readonly=on", "q,mac=1")
	f.Add(`"`, `\`, "\n")
	f.Fuzz(func(t *testing.T, name, path, machine string) {
		if path == "" {
			return // no kernel at all
		}
		count := func(name, path, machine string) []int {
			s := plainSpec(name)
			s.Kernel, s.Disks = path, []Disk{{Image: path, Format: "raw", Bus: BusVirtio, Cache: "none"}}
			abi := ABI{UUID: name, Machine: "pc-q35-" + machine, Headers: []string{name, name}, Memory: s.MemoryMax, CPUs: s.CPUsMax,
				Disks: []ABIDisk{{Image: path, Bus: BusVirtio, Slot: slotDisk}}}
			var n []int
			argv := Args(s, &abi, Wire(s, [][]Layer{{{path, "raw"}}}), Target{QEMU: "q", Accel: AccelTCG, Pidfile: "p"})
			for _, a := range argv {
				if strings.HasPrefix(a, "{") { // JSON: no commas of its own to escape
					n = append(n, -1)
					continue
				}
				n = append(n, len(qemuOpts(a)))
			}
			return n
		}
		got, want := count(name, path, machine), count("x", "/x", "7.2")
		if len(got) != len(want) {
			t.Fatalf("%d arguments, want %d", len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] && argIsSplit(i) {
				t.Errorf("argument %d has %d options, want %d", i, got[i], want[i])
			}
		}
	})
}

// argIsSplit reports whether QEMU splits the argument at commas: all but the plain ones, which a harmless guest has too.
func argIsSplit(i int) bool { return i != 7 } // argv[7] is -uuid's value
