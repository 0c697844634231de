package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

func TestSizeOfACommandLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		argv []string
		want machineSize
		err  string
	}{
		{"no headroom", []string{"q", "-smp", "1,sockets=1,cores=1,threads=1,maxcpus=1", "-m", "size=131072k"}, machineSize{128 * units.MiB, 128 * units.MiB, 1, 1}, ""},
		{"headroom", []string{"q", "-smp", "2,cores=4,maxcpus=4", "-m", "size=524288k,maxmem=2097152k"}, machineSize{512 * units.MiB, 2 * units.GiB, 2, 4}, ""},
		{"the admin's own come last", []string{"q", "-smp", "1,maxcpus=1", "-m", "size=1024k", "-m", "9G", "-smp", "99"}, machineSize{units.MiB, units.MiB, 1, 1}, ""},
		{"nothing", []string{"q"}, machineSize{}, "a command line without the machine's memory and CPUs"},
		{"a flag without a value", []string{"q", "-smp", "1,maxcpus=1", "-m"}, machineSize{}, "a command line without the machine's memory and CPUs"},
		{"no number", []string{"q", "-m", "size=xk"}, machineSize{}, `read -m size=xk: strconv.ParseInt: parsing "x": invalid syntax`},
		{"too much", []string{"q", "-m", "size=99999999999999k"}, machineSize{}, "read -m size=99999999999999k: value out of range"},
		{"more CPUs than room", []string{"q", "-smp", "3,maxcpus=2", "-m", "size=1024k"}, machineSize{}, "a command line without the machine's memory and CPUs"},
	} {
		got, err := sizeOf(tt.argv)
		if got != tt.want || errWords(err) != tt.err {
			t.Errorf("%s: %+v, %q", tt.name, got, errWords(err))
		}
	}
}

func errWords(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What Args writes sizeOf reads, for every size that a guest may have.
func TestSizeOfWhatArgsWrites(t *testing.T) {
	t.Parallel()
	for _, memory := range []units.Size{4 * units.MiB, 128 * units.MiB, 256 * units.MiB, 513 * units.MiB, 5 * units.TiB} {
		for cpus := 1; cpus <= MostCPUs; cpus += 127 {
			s := plainSpec("vm-a").sized(memory, cpus)
			abi := mustPin(t, nil, s)
			z, err := sizeOf(Args(s, abi, Wire(s, nil), Target{}))
			if want := (machineSize{memory, s.MemoryMax, cpus, s.CPUsMax}); err != nil || z != want {
				t.Errorf("%+v, %v; want %+v", z, err, want)
			}
		}
	}
}

func FuzzDecodeMachine(f *testing.F) {
	f.Add([]byte(`["q","-m","size=4096k","-smp","1,maxcpus=1"]`))
	f.Add([]byte(`{"argv":["q","-m","size=4096k,maxmem=8192k","-smp","1,maxcpus=2"],"memory":8388608,"cpus":2,"unseen":["memory"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMachine(b)
		if (m == nil) == (err == nil) {
			t.Fatalf("%v, %v", m, err)
		}
		if m != nil {
			if z, err := sizeOf(m.Argv); err != nil || z.CPUs < 1 || z.Memory <= 0 {
				t.Fatalf("%+v, %v", z, err)
			}
		}
	})
}

func TestADefaultThatFollowsMakesNoOtherMachine(t *testing.T) {
	t.Parallel()
	base := func() *Spec { return plainSpec("vm-olorin") } // 512M up to 2G, 1 CPU up to 2: the defaults
	first := mustPin(t, nil, base())
	for _, tt := range []struct {
		name   string
		change func(*Spec)
		memory units.Size
		cpus   int
	}{
		{"nothing", func(*Spec) {}, 2 * units.GiB, 2},
		{"more memory and CPUs", func(s *Spec) { *s = *s.sized(units.GiB, 2) }, 2 * units.GiB, 2},
		{"less memory", func(s *Spec) { *s = *s.sized(128*units.MiB, 1) }, 2 * units.GiB, 2},
		{"as much as there is room for", func(s *Spec) { *s = *s.sized(2*units.GiB, 2) }, 2 * units.GiB, 2},
		{"more than there is room for", func(s *Spec) { *s = *s.sized(3*units.GiB, 3) }, 12 * units.GiB, 6},
		{"a headroom that is named", func(s *Spec) { s.MemoryMax, s.CPUsMax = 4*units.GiB, 8 }, 4 * units.GiB, 8},
		{"a smaller one that is named", func(s *Spec) { s.MemoryMax, s.CPUsMax = units.GiB, 1 }, 2 * units.GiB, 2},
	} {
		s := base()
		tt.change(s)
		if got := mustPin(t, first, s); got.Memory != tt.memory || got.CPUs != tt.cpus {
			t.Errorf("%s: %v, %d; want %v, %d", tt.name, got.Memory, got.CPUs, tt.memory, tt.cpus)
		}
	}
}

// A lock of an older kvmctl says nothing of the headroom: then what runs says it, else what ran last, else the file.
func TestALockWithoutHeadroomIsFilledIn(t *testing.T) {
	t.Parallel()
	h := &Host{Layout: Layout{Root: t.TempDir()}}
	s := plainSpec("vm-olorin")
	s.Memory, s.MemoryMax = units.GiB, 4*units.GiB // changed since it was started with 512M
	old := mustPin(t, nil, plainSpec("vm-olorin"))
	old.UID, old.Memory, old.CPUs = 1, 0, 0
	path := h.ABILock(s.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := saveABI(path, nil, *old); err != nil {
		t.Fatal(err)
	}
	room := func(argv []string) string {
		t.Helper()
		lock, err := LoadABI(path)
		if err != nil {
			t.Fatal(err)
		}
		a := mustPin(t, h.withHeadroom(lock, s.Name, argv), s)
		if d := cmp.Diff(old.UUID, a.UUID); d != "" || lock.Memory != 0 {
			t.Errorf("%+v", a)
		}
		return fmt.Sprint(a.Memory, " ", a.CPUs)
	}
	if got := room(nil); got != "4G 2" {
		t.Errorf("of a guest of which nothing is known: %s", got)
	}
	last := newRecord(plainSpec(s.Name), old)
	if err := os.MkdirAll(h.RunDir(s.Name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.saveRecord(s.Name, last); err != nil {
		t.Fatal(err)
	}
	h.keepRecord(s.Name)
	if err := os.Remove(h.run(s.Name, recordName)); err != nil {
		t.Fatal(err)
	}
	if got := room(nil); got != "2G 2" {
		t.Errorf("of one that ran: %s", got)
	}
	argv := []string{"q", "-smp", "1,maxcpus=6", "-m", "size=524288k,maxmem=6291456k"}
	if got := room(argv); got != "6G 6" {
		t.Errorf("of one that was saved: %s", got)
	}
	if err := h.saveArgv(s.Name, argv); err != nil {
		t.Fatal(err)
	}
	if got := room(nil); got != "6G 6" {
		t.Errorf("of one that runs: %s", got)
	}
}

func TestAnAbsurdHeadroomIsRefused(t *testing.T) {
	t.Parallel()
	a := mustPin(t, nil, plainSpec("vm-a"))
	a.UID = 1
	if err := a.check(); err != nil {
		t.Fatal(err)
	}
	a.CPUs = 1000
	if err := a.check(); errWords(err) != "no machine has room for 2G and 1000 CPUs" {
		t.Error(err)
	}
}

func TestAMachineOfAnOlderRecord(t *testing.T) {
	t.Parallel()
	argv := []string{"q", "-m", "size=4096k", "-smp", "1,maxcpus=2"}
	old, err := decodeMachine([]byte(`["q","-m","size=4096k","-smp","1,maxcpus=2"]`))
	if err != nil || !slices.Equal(old.Argv, argv) {
		t.Fatalf("%+v, %v", old, err)
	}
	now := &pastMachine{Argv: argv, CPUs: 1}
	if err := sameMachine("vm-a", old, now); err != nil {
		t.Error(err)
	}
	now.CPUs = 2
	if err := sameMachine("vm-a", old, now); errWords(err) != "it runs with 2 CPUs, and had 1 then" {
		t.Error(err)
	}
	if err := sameMachine("vm-a", nil, now); err != nil {
		t.Error(err)
	}
}

func TestARecordOfAGuestThatGoesOn(t *testing.T) {
	t.Parallel()
	asked := plainSpec("vm-a").sized(3*units.GiB, 2) // what the file says by now
	r := newRecord(asked, mustPin(t, nil, asked))
	r.goesOn(&pastMachine{Memory: units.GiB, CPUs: 2, Unseen: []string{"memory"}}, plainSpec("vm-a"))
	if r.Started.Memory != 512*units.MiB || r.Started.CPUs != 1 || r.Applied.Memory != units.GiB || r.Applied.CPUs != 2 || len(r.Unseen) != 1 {
		t.Errorf("%+v", r)
	}
	if want := plainSpec("vm-a").sized(units.GiB, 2).Digest(); r.Applied.Digest() != want {
		t.Error("what follows memory and cpus is taken for a change")
	}
}
