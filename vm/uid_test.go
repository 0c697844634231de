package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

func TestAccountFiles(t *testing.T) {
	for _, tt := range []struct {
		name, text   string
		first, count int
		want         uidRanges
	}{
		{"passwd", "root:x:0:0:root:/root:/bin/bash\nfrodo:x:70001:70001::/home/frodo:/bin/sh\n", 2, -1, uidRanges{{0, 1}, {70001, 1}}},
		{"subuid", "frodo:100000:65536\nsam:200000:10\n", 1, 2, uidRanges{{100000, 65536}, {200000, 10}}},
		{"damaged lines", "\nx\nx:y\nx:y:z\nx:1:\n:::\nx:-5:3\nx:5:0\nx:5:-1\nok:7:2\n", 1, 2, uidRanges{{7, 2}}},
		{"no end of line", "a:x:5", 2, -1, uidRanges{{5, 1}}},
		{"a number beyond all", "a:x:99999999999999999999\nb:x:6\n", 2, -1, uidRanges{{6, 1}}},
		{"a group of many", "big:x:7:" + strings.Repeat("member,", 20000) + "\nnext:x:8:\n", 2, -1, uidRanges{{7, 1}, {8, 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseAccounts(strings.NewReader(tt.text), tt.first, tt.count)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(uidRange{})); d != "" {
				t.Error(d)
			}
		})
	}
	if _, err := parseAccounts(strings.NewReader(strings.Repeat("x", maxAccountLine+1)), 2, -1); err == nil {
		t.Error("a line without end is read as if all were well")
	}
}

func TestRangesContainTheirFirstAndNotTheirEnd(t *testing.T) {
	r := uidRanges{{10, 5}, {1 << 62, 1}}
	for uid, want := range map[int]bool{9: false, 10: true, 14: true, 15: false, 1 << 62: true} {
		if r.contains(uid) != want {
			t.Errorf("%d: %v", uid, !want)
		}
	}
}

// The base lies where no account, range or process of a test machine is.
const emptyBase = 1_900_000_000

func pinUID(t *testing.T, l Layout, name string, uid int) {
	t.Helper()
	if err := MakeDirs(l.GuestLibDir(name), 0o711); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(ABI{Version: 1, UUID: someUUID, UID: uid, Machine: q35, Headers: []string{"", ""}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.ABILock(name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstFreeNumberIsChosen(t *testing.T) {
	l := Layout{Root: t.TempDir() + "/with[a]*?"}
	want := func(n int) {
		t.Helper()
		if got, err := chooseUID(l, emptyBase); err != nil || got != n {
			t.Errorf("%d, %v; want %d", got, err, n)
		}
	}
	want(1)
	pinUID(t, l, "a", 1)
	pinUID(t, l, "c", 3)
	want(2)
	pinUID(t, l, "b", 2)
	want(4)
	if err := os.RemoveAll(l.GuestLibDir("a")); err != nil {
		t.Fatal(err)
	}
	want(1)
}

func TestNumbersOfAccountsAndProcessesAreNotChosen(t *testing.T) {
	// Uid 0 has an account, and this test runs as some uid.
	if n, err := chooseUID(Layout{Root: t.TempDir()}, -1); err != nil || n <= 1 || n-1 == os.Getuid() {
		t.Errorf("base -1: %d, %v", n, err)
	}
	if n, err := chooseUID(Layout{Root: t.TempDir()}, os.Getuid()-1); err != nil || n == 1 {
		t.Errorf("our own uid is given away: %d, %v", n, err)
	}
}

func TestALockThatCannotBeReadStopsTheChoice(t *testing.T) {
	l := Layout{Root: t.TempDir()}
	pinUID(t, l, "a", 1)
	if err := os.WriteFile(l.ABILock("a"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := chooseUID(l, emptyBase)
	if want := "read " + l.ABILock("a") + ": version 0 is not one that this kvmctl knows"; errText(err) != want {
		t.Errorf("got  %q\nwant %q", errText(err), want)
	}
}

func FuzzParseAccounts(f *testing.F) {
	f.Add("root:x:0:0::/:/bin/sh\n", 2, -1)
	f.Add("a:1:2\n", 1, 2)
	f.Fuzz(func(t *testing.T, text string, first, count int) {
		if first < 0 || first > 9 || count < -1 || count > 9 {
			return
		}
		ranges, err := parseAccounts(strings.NewReader(text), first, count)
		if err != nil {
			return
		}
		for _, r := range ranges {
			if r.first < 0 || r.count < 1 || !ranges.contains(r.first) {
				t.Errorf("%+v", r)
			}
		}
	})
}

// An account can get a uid after a guest did: useradd(8) knows nothing of guests. The accounts are those of a mount namespace, in a
// process of its own: a thread that was the first one would give its namespace to all who look at /proc/self.
func TestAUIDThatAnAccountTookIsChosenAnew(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	if os.Getenv("KVM_VM_ACCOUNTS") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestAUIDThatAnAccountTookIsChosenAnew$")
		cmd.Env = append(os.Environ(), "KVM_VM_ACCOUNTS=1")
		cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), os.WriteFile(passwd, []byte("root:x:0:0:::\n"), 0o644),
		unix.Mount(passwd, "/etc/passwd", "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	h := &Host{Layout: Layout{Root: t.TempDir()}, UIDBase: emptyBase}
	abi := ABI{Version: 1, UUID: someUUID, Machine: q35, Headers: []string{"", ""}}
	pin := func() (int, []string) {
		p := &Prepared{ABI: abi}
		if err := h.pin(t.Context(), p, "vm-olorin"); err != nil {
			t.Error(err)
		}
		abi = p.ABI
		return p.ABI.UID, p.Notes
	}
	if uid, notes := pin(); uid != 1 || notes != nil {
		t.Errorf("the first start: uid %d, %q", uid, notes)
	}
	if err := os.WriteFile(passwd, fmt.Appendf(nil, "root:x:0:0:::\nfrodo:x:%d:100:::\n", emptyBase+2), 0o644); err != nil {
		t.Error(err)
	}
	if uid, notes := pin(); uid != 1 || notes != nil {
		t.Errorf("another uid was taken: uid %d, %q", uid, notes)
	}
	if err := os.WriteFile(passwd, fmt.Appendf(nil, "root:x:0:0:::\nfrodo:x:%d:100:::\nsam:x:%d:100:::\n", emptyBase+2, emptyBase+1), 0o644); err != nil {
		t.Error(err)
	}
	uid, notes := pin()
	want := []string{fmt.Sprintf("an account has uid %d by now: the guest gets another", emptyBase+1)}
	if d := cmp.Diff(want, notes); uid != 3 || d != "" {
		t.Errorf("its uid was taken: uid %d, %s", uid, d)
	}
	if kept, err := LoadABI(h.ABILock("vm-olorin")); err != nil || kept.UID != 3 {
		t.Errorf("the lock has %+v, %v", kept, err)
	}
}
