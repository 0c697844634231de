package configs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/configs/strict"
	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

func load(t *testing.T, root string) *Site {
	t.Helper()
	s, err := Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func names(s *Site) []string {
	var out []string
	for _, g := range s.Guests {
		name := g.Spec.Name
		if g.Broken {
			name += " (broken)"
		}
		out = append(out, name)
	}
	return out
}

func TestAMachineWithoutConfigurationIsASiteWithDefaults(t *testing.T) {
	root := t.TempDir()
	s := load(t, root)
	want := DefaultHost()
	want.Root = root
	if diff := cmp.Diff(want, s.Host, compare); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
	if len(s.Guests) > 0 || len(s.Problems) > 0 {
		t.Errorf("guests %v, problems %v", names(s), s.Problems)
	}
}

func TestTheHostsFileIsRead(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/machine-id", "abc\n")
	put(t, root, "etc/kvm/kvm.toml", "uid_base = 80000\nconsole_size = \"8M\"\n[[bridge]]\nname = \"br0\"\n[[bridge]]\nname = \"br1\"\nmac = \"52:54:00:00:00:01\"\nmtu = 9000\n[defaults]\naccel = \"tcg\"\n")
	put(t, root, "etc/kvm/vm1/vm.toml", "")
	s := load(t, root)
	for _, p := range s.Problems {
		t.Error(p)
	}
	want := []netbridge.Bridge{
		{Name: "br0", MAC: units.DeriveMAC("abc", "bridge", "br0"), MTU: 1500},
		{Name: "br1", MAC: units.MAC{0x52, 0x54, 0, 0, 0, 1}, MTU: 9000},
	}
	if diff := cmp.Diff(want, s.Host.Bridges, compare); diff != "" {
		t.Errorf("bridges (-want +got):\n%s", diff)
	}
	if s.Host.UIDBase != 80000 || s.Host.ConsoleSize != 8*units.MiB || s.Host.RecorderSize != 256*units.KiB {
		t.Errorf("host %+v", s.Host)
	}
	if a := s.Guests[0].Spec.Accel; a != "tcg" {
		t.Errorf("the guest's accel is %q, not the host's default", a)
	}
}

func TestGuestsAreTheDirectoriesWithAFile(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/kvm/vm2/vm.toml", "cpus = 0\n")
	put(t, root, "etc/kvm/vm10/vm.toml", "[[disk]]\nimage = \"a.qcow2\"\n[[disk]]\nimage = \"/srv/b.qcow2\"\n[hooks]\npre_stop = \"bye\"\n")
	put(t, root, "etc/kvm/README", "not a guest")
	put(t, root, "etc/kvm/empty/notes", "not a guest")
	put(t, root, "etc/kvm/vm.toml", "not a guest")
	put(t, root, "elsewhere/vm.toml", "cpus = 2\n")
	if err := os.Symlink(filepath.Join(root, "elsewhere"), filepath.Join(root, "etc/kvm/vm3")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(root, "etc/kvm/vm4")); err != nil {
		t.Fatal(err)
	}
	s := load(t, root+"/")
	if diff := cmp.Diff([]string{"vm10", "vm2 (broken)", "vm3"}, names(s)); diff != "" {
		t.Errorf("guests (-want +got):\n%s", diff)
	}
	vm10 := s.Guests[0].Spec
	got := []string{vm10.Disks[0].Image, vm10.Disks[1].Image, vm10.Hooks.PreStop, s.Guests[0].File}
	want := []string{root + "/var/lib/kvm/vm10/a.qcow2", "/srv/b.qcow2", root + "/etc/kvm/vm10/bye", root + "/etc/kvm/vm10/vm.toml"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestARelativeRootMakesAbsolutePaths(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	put(t, dir, "site/etc/kvm/vm1/vm.toml", "[[disk]]\nimage = \"a\"\n")
	s := load(t, "site")
	if got, want := s.Guests[0].Spec.Disks[0].Image, dir+"/site/var/lib/kvm/vm1/a"; got != want {
		t.Errorf("image %s, want %s", got, want)
	}
}

func TestWhatCannotBeReadIsAProblemOfItsFile(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/kvm/large/vm.toml", "cpus = 1\n"+strings.Repeat("#", strict.MaxFile))
	put(t, root, "etc/kvm/full/vm.toml", "cpus = 1\n"+strings.Repeat("#", strict.MaxFile-9))
	put(t, root, "etc/kvm/folder/vm.toml/x", "")
	if err := os.MkdirAll(filepath.Join(root, "etc/kvm/fifo"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "etc/kvm/fifo/vm.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "etc/kvm/kvm.toml"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := load(t, root)
	want := `/etc/kvm/fifo/vm.toml:1:1: cannot be read: no regular file
/etc/kvm/folder/vm.toml:1:1: cannot be read: no regular file
/etc/kvm/kvm.toml:1:1: cannot be read: no regular file
/etc/kvm/large/vm.toml:1:1: larger than 1M: this is no configuration file
`
	if diff := cmp.Diff(want, messages(s)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"fifo (broken)", "folder (broken)", "full", "large (broken)"}, names(s)); diff != "" {
		t.Errorf("guests (-want +got):\n%s", diff)
	}
}

func TestWhatMakesEverythingImpossibleIsAnError(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/kvm", "a file")
	if s, err := Load(t.Context(), root); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v, %v; want ENOTDIR", s, err)
	}
	put(t, root, "2/etc/kvm/vm1/vm.toml", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Load(ctx, root+"/2"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v; want %v", s, err, context.Canceled)
	}
}

func TestABrokenGuestDoesNotBlockTheOthers(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/kvm/a/vm.toml", "cpus = 0\nafter = [\"zz\"]\n")
	put(t, root, "etc/kvm/b/vm.toml", "after = [\"a\"]\n")
	put(t, root, "etc/kvm/c/vm.toml", "[vnc]\ndisplay = 1\n")
	put(t, root, "etc/kvm/d/vm.toml", "[vnc]\ndisplay = 1\n")
	s := load(t, root)
	for name, want := range map[string]int{"a": 2, "b": 0, "c": 1, "d": 1, "e": 0} {
		if got := s.ProblemsOf(name); len(got) != want {
			t.Errorf("%s: want %d problems, got %v", name, want, got)
		}
	}
	// Only its own mistakes make a guest broken: c alone would be fine.
	if diff := cmp.Diff([]string{"a (broken)", "b", "c", "d"}, names(s)); diff != "" {
		t.Errorf("guests (-want +got):\n%s", diff)
	}
	put(t, root, "etc/kvm/kvm.toml", "uid_base = 1\n")
	s = load(t, root)
	if got := s.ProblemsOf("b"); len(got) != 1 || got[0].File != s.HostFile {
		t.Errorf("b: want the problem of kvm.toml, got %v", got)
	}
	if got := s.Problems.For(s.HostFile); len(got) != 1 {
		t.Errorf("kvm.toml: %v", got)
	}
}

func TestAnUnknownGuestComesWithAHint(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/kvm/vm-olorin/vm.toml", "")
	s := load(t, root)
	if g, err := s.Guest("vm-olorin"); err != nil || g.Spec.Name != "vm-olorin" {
		t.Errorf("got %v, %v", g.Spec.Name, err)
	}
	tests := []struct{ name, err, hint string }{
		{"vm-orolin", `unknown guest "vm-orolin"`, `did you mean "vm-olorin"? else: kvmctl list`},
		{"VM-Olorin", `unknown guest "VM-Olorin"`, `did you mean "vm-olorin"? else: kvmctl list`},
		{"frodo", `unknown guest "frodo"`, "kvmctl list"},
		{"../x", `bad guest name "../x": only a-z, 0-9, . and - are allowed, and the first is a letter or a digit`, "try x"},
	}
	for _, tt := range tests {
		_, err := s.Guest(tt.name)
		if err == nil || err.Error() != tt.err || hintOf(err) != tt.hint {
			t.Errorf("%s: got %v (hint %q), want %s (hint %q)", tt.name, err, hintOf(err), tt.err, tt.hint)
		}
	}
	var unknown *UnknownGuestError
	if _, err := s.Guest("frodo"); !errors.As(err, &unknown) {
		t.Errorf("%v is no *UnknownGuestError", err)
	}
}

func TestANewFileIsJudgedBesideTheOthers(t *testing.T) {
	root := t.TempDir()
	put(t, root, "etc/kvm/a/vm.toml", "[vnc]\ndisplay = 1\n")
	put(t, root, "etc/kvm/b/vm.toml", "cpus = 0\n")
	s := load(t, root)
	tests := []struct{ name, text, want string }{
		{"c", "after = [\"a\"]\n[vnc]\ndisplay = 2\n", ""},
		{"c", "[vnc]\ndisplay = 1\n", root + "/etc/kvm/c/vm.toml:2:11: vnc.display 1 is also that of a (" + root + "/etc/kvm/a/vm.toml:2)"},
		{"c", "order = -1\n", root + "/etc/kvm/c/vm.toml:1:9: order wants 0 to 9999, got -1"},
		{"a", "[vnc]\ndisplay = 1\n", ""},
	}
	for _, tt := range tests {
		problems, err := s.Judge(t.Context(), tt.name, []byte(tt.text))
		if err != nil || problems.Error() != tt.want {
			t.Errorf("%s, %q: got %q, %v; want %q", tt.name, tt.text, problems.Error(), err, tt.want)
		}
	}
}

func TestProblemsAreAnErrorALine(t *testing.T) {
	_, problems := ParseGuest(testFile, "vm-olorin", []byte("cpuss = 1\naccel = \"xen\"\n"), testHost())
	want := testFile + ":1:1: unknown key \"cpuss\"\n" + testFile + ":2:9: accel wants \"auto\", \"kvm\" or \"tcg\", got \"xen\""
	if problems.Error() != want || problems.Hint() != `did you mean "cpus"?` {
		t.Errorf("got %s (hint %q)", problems.Error(), problems.Hint())
	}
	var p Problem
	if !errors.As(fmt.Errorf("wrapped: %w", problems), &p) || p.Key != "cpuss" {
		t.Errorf("first problem: %+v", p)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "vm-olorin", "0", "a.b", "web1.example.org", strings.Repeat("x", 40), "all2", "lock", "a--b"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	tests := []struct{ name, rule, hint string }{
		{"", "it is empty", ""},
		{strings.Repeat("x", 41), "longer than 40 characters", "try " + strings.Repeat("x", 40)},
		{strings.Repeat("x", 200), "longer than 40 characters", "try " + strings.Repeat("x", 40)},
		{"Web Server_1", "only a-z, 0-9, . and - are allowed, and the first is a letter or a digit", "try web-server-1"},
		{"a/b", "only a-z, 0-9, . and - are allowed, and the first is a letter or a digit", "try a-b"},
		{"-x", "only a-z, 0-9, . and - are allowed, and the first is a letter or a digit", "try x"},
		{"..", "only a-z, 0-9, . and - are allowed, and the first is a letter or a digit", ""},
		{"a\n", "only a-z, 0-9, . and - are allowed, and the first is a letter or a digit", "try a"},
		{"é", "only a-z, 0-9, . and - are allowed, and the first is a letter or a digit", ""},
		{"a..b", "two dots in a row", "try a.b"},
		{"a.", "the last character has to be a letter or a digit", "try a"},
		{"a-", "the last character has to be a letter or a digit", "try a"},
		{"all", `"all" means every guest`, ""},
		{"kvm.toml", `".toml" ends the names of kvmctl's own files`, "try kvm"},
		{"web.lock", `".lock" ends the names of kvmctl's own files`, "try web"},
	}
	for _, tt := range tests {
		err := CheckName(tt.name)
		var ne *NameError
		if !errors.As(err, &ne) || ne.Rule != tt.rule || ne.Hint() != tt.hint {
			t.Errorf("%q: got %v (hint %q), want %s (hint %q)", tt.name, err, hintOf(err), tt.rule, tt.hint)
		}
	}
}

func TestGrowthOfMemoryIsWholeBlocks(t *testing.T) {
	tests := []struct{ memory, want units.Size }{
		{512 * units.MiB, 2 * units.GiB},
		{257 * units.MiB, 1029 * units.MiB}, // 4 times 257M would be 771M of growth, an odd number of MiB
		{256 * units.MiB, units.GiB},
		{255 * units.MiB, 255 * units.MiB}, // small: no headroom
		{4 * units.TiB, 16 * units.TiB},
	}
	for _, tt := range tests {
		if got := defaultMemoryMax(tt.memory); got != tt.want || (got-tt.memory)%memoryBlock != 0 {
			t.Errorf("memory_max of memory %s is %s, want %s", tt.memory, got, tt.want)
		}
	}
}

func BenchmarkLoad200Guests(b *testing.B) {
	root := b.TempDir()
	put(b, root, "etc/kvm/kvm.toml", HostReference)
	for i := range 200 {
		put(b, root, fmt.Sprintf("etc/kvm/vm%03d/vm.toml", i), fmt.Sprintf(`description = "guest %[1]d"
memory = "512M"
cpus = 2
autostart = true
order = %[1]d
after = ["vm000"]

[vnc]
display = %[1]d

[[disk]]
image = "disk.qcow2"
size = "8G"
discard = true

[[nic]]
bridge = "br0"
mac = "52:54:00:00:00:%02[1]x"

[guest]
profile = "linux"
address = "10.2.0.%[1]d"
`, i))
	}
	put(b, root, "etc/kvm/vm000/vm.toml", "memory = \"512M\"\n")
	for b.Loop() {
		s, err := Load(b.Context(), root)
		if err != nil || len(s.Guests) != 200 || len(s.Problems) != 0 {
			b.Fatal(err, len(s.Guests), s.Problems)
		}
	}
}
