package vm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHardwareIsWhatTheGuestSees(t *testing.T) {
	t.Parallel()
	argv := []string{"/usr/bin/qemu", "-name", "guest=vm-a", "-nodefaults", "-S", "-m", "size=1k", "-add-fd", "fd=4,set=4", "-vnc", "127.0.0.1:0",
		"-object", "rng-builtin,id=rng0", "-object", "memory-backend-ram,id=mem1", "-device", "VGA,id=video0", "-incoming", "defer"}
	want := []string{"-nodefaults", "-m size=1k", "-object memory-backend-ram,id=mem1", "-device VGA,id=video0"}
	if d := cmp.Diff(want, Hardware(argv)); d != "" {
		t.Error(d)
	}
}

func TestSameHardware(t *testing.T) {
	t.Parallel()
	base := []string{"qemu", "-m", "1", "-device", "a"}
	for _, tt := range []struct {
		name string
		now  []string
		want string
	}{
		{"the same", base, ""},
		{"another screen", append([]string{"qemu", "-vnc", ":1"}, base[1:]...), ""},
		{"more memory", []string{"qemu", "-m", "2", "-device", "a"}, "its hardware changed since then: it was -m 1, and is -m 2"},
		{"a disk more", append(base[:len(base):len(base)], "-device", "b"), "its hardware changed since then: now there is also -device b"},
		{"a disk less", base[:3], "its hardware changed since then: there was also -device a"},
		{"the same disk twice", append(base[:len(base):len(base)], "-device", "a"), "its hardware changed since then: it was 2 devices and settings, and is 3"},
	} {
		got := ""
		if err := sameHardware("vm-a", base, tt.now); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A guest that runs has its hardware until it starts anew: for a state of it, that is what is to be typed, not what to take back.
func TestAGuestThatRunsIsToBeRestartedForItsNewHardware(t *testing.T) {
	t.Parallel()
	started, file := []string{"qemu", "-m", "1"}, []string{"qemu", "-m", "2"}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{asStarted("vm-a", started, file), "kvmctl restart vm-a; then the same again"},
		{sameHardware("vm-a", started, file), "take back what changed in vm.toml (kvmctl show vm-a)"},
	} {
		e, ok := errors.AsType[*ChangedError](tt.err)
		if !ok || e.Hint() != tt.want {
			t.Errorf("%v: want the hint %q", tt.err, tt.want)
		}
	}
	if err := asStarted("vm-a", started, started); err != nil {
		t.Error(err)
	}
}

func TestSameDisks(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 5)
	a, b := DiskState{"/a", 10, now, 1, 0, ""}, DiskState{"/b", 10, now, 2, 0, ""}
	changed := func(f func(*DiskState)) []DiskState { d := a; f(&d); return []DiskState{d} }
	for _, tt := range []struct {
		name      string
		then, now []DiskState
		want      string
	}{
		{"the same", []DiskState{a, b}, []DiskState{b, a}, ""},
		{"written", []DiskState{a}, changed(func(d *DiskState) { d.Time = d.Time.Add(1) }), "disk /a was written to"},
		{"grown", []DiskState{a}, changed(func(d *DiskState) { d.Size++ }), "disk /a was written to"},
		{"replaced", []DiskState{a}, changed(func(d *DiskState) { d.Inode++ }), "disk /a was replaced"},
		{"gone", []DiskState{a, b}, []DiskState{b}, "disk /a is the guest's no more"},
		{"one more", []DiskState{a}, []DiskState{a, b}, "disk /b was added"},
		{"a device written", []DiskState{{"/d", 0, time.Time{}, 3, 7, "x"}}, []DiskState{{"/d", 0, time.Time{}, 3, 8, "x"}}, "disk /d was written to"},
		{"a device after a reboot", []DiskState{{"/d", 0, time.Time{}, 3, 7, "x"}}, []DiskState{{"/d", 0, time.Time{}, 3, 8, "y"}}, ""},
	} {
		got := ""
		if err := sameDisks(tt.then, tt.now); err != nil {
			got, _, _ = strings.Cut(err.Error(), " since the guest")
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSameDevices(t *testing.T) {
	t.Parallel()
	started := []string{"video0", "extra0"}
	for _, tt := range []struct {
		have []string
		want string
	}{
		{[]string{"extra0", "video0"}, ""},
		{[]string{"extra0", "extra1", "video0"}, "it got the device extra1 since it was started: that cannot be restored"},
		{[]string{"video0"}, "it lost the device extra0 since it was started: that cannot be restored"},
	} {
		got := ""
		if err := sameDevices("vm-a", started, tt.have); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.have, got, tt.want)
		}
	}
}

func TestPausedBy(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	p := Fact{Kind: KindPause, Time: at(10), By: "frodo, kvmctl pause"}
	want := "paused by frodo, kvmctl pause on " + at(10).Local().Format("2006-01-02 15:04")
	for _, tt := range []struct {
		name string
		run  []Fact
		want string
	}{
		{"by a monitor", nil, ""},
		{"by us", []Fact{p}, want},
		{"an earlier event, harvested later", []Fact{p, {Kind: KindEvent, Event: "RESUME", Time: at(9)}}, want},
		{"went on, then a monitor", []Fact{p, {Kind: KindEvent, Event: "RESUME", Time: at(11)}}, ""},
	} {
		if got := pausedBy(tt.run); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTheEndOfAStreamIsSeen(t *testing.T) {
	t.Parallel()
	end := func(text string) []byte {
		b := append([]byte("memory\x06\x00\x00"), 0x06)
		return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
	}
	for _, tt := range []struct {
		name string
		tail []byte
		want bool
	}{
		{"the end", end(`{"devices": [{"size": 6}]}`), true},
		{"cut", end(`{"devices": [{"size": 6}]}`)[:20], false},
		{"no JSON", end(`{"devices": [{]}`), false},
		{"more behind it", append(end(`{"devices": []}`), 0), false},
		{"nothing", nil, false},
		{"only an end", []byte("}"), false},
	} {
		if got := endsStream(tt.tail); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// savedFile makes a saved guest's file and gives its bytes.
func savedFile(t testing.TB, stream string) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "saved"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := newSavedWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(stream)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSaved(f.Name()); err == nil || !strings.Contains(err.Error(), "it was never finished") {
		t.Errorf("without a header: %v", err)
	}
	if err := w.finish(SavedHeader{Version: savedVersion, Guest: "vm-a", Argv: []string{"qemu"}}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestADamagedSavedGuestIsRefused(t *testing.T) {
	t.Parallel()
	good := savedFile(t, "memory")
	h, err := decodeSaved(good[:savedStart], int64(len(good)))
	if err != nil || h.Guest != "vm-a" || h.Size != 6 || h.CRC != 0xc2a28270 {
		t.Errorf("%+v (crc %#x), %v", h, h.CRC, err)
	}
	for _, tt := range []struct {
		name   string
		damage func(b []byte) []byte
		want   string
	}{
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, "it has 5 bytes of memory where its header says 6"},
		{"grown", func(b []byte) []byte { return append(b, 0) }, "it has 7 bytes of memory where its header says 6"},
		{"another file", func(b []byte) []byte { b[0] = 'X'; return b }, "it does not begin like one"},
		{"empty", func([]byte) []byte { return nil }, "it does not begin like one"},
		{"a header's bit", func(b []byte) []byte { b[30] ^= 1; return b }, "its header is damaged"},
		{"a header's length", func(b []byte) []byte { b[8] = 0xff; return b }, "its header claims 4278190"},
	} {
		b := tt.damage(bytes.Clone(good))
		_, err := decodeSaved(b[:min(len(b), savedStart)], int64(len(b)))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

func FuzzDecodeSaved(f *testing.F) {
	good := savedFile(f, "memory")
	f.Add(good[:1000], int64(len(good)))
	f.Add([]byte(savedMagic), int64(0))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		h, err := decodeSaved(head, size)
		if (h == nil) == (err == nil) {
			t.Fatalf("%v, %v", h, err)
		}
		if h != nil && h.Size != size-savedStart {
			t.Fatalf("%d of %d", h.Size, size)
		}
	})
}

func FuzzReturnPath(f *testing.F) {
	f.Add(shutMessage())
	f.Add([]byte{0, rpPong, 0, 4, 0, 0, 0, 1, 0, rpShut, 0, 4, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) { _ = awaitShut(bytes.NewReader(b)) })
}

func FuzzEndsStream(f *testing.F) {
	f.Add([]byte("\x06\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if endsStream(b) && !json.Valid(b[bytes.IndexByte(b, '{'):]) && bytes.Count(b, []byte("{")) == 1 {
			t.Fatalf("%q", b)
		}
	})
}
