package accel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// planted writes a record that says of device what no probe of it would, so that who was asked can be told by the answer.
func planted(t *testing.T, path, device string, change func(*record)) Verdict {
	t.Helper()
	r, err := currentKey(device)
	if err != nil {
		t.Fatal(err)
	}
	r.Cause, r.Took, r.Checked = Proved, 1234, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	change(&r)
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return r.verdict()
}

func TestCachedTrustsOnlyItsOwnFileOfThisBootAndDevice(t *testing.T) {
	const device = "/dev/null" // no KVM: a probe of it says so at once
	tests := []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  Cause
	}{
		{"as written", func(t *testing.T, path string) {}, Proved},
		{"another boot", func(t *testing.T, path string) {
			planted(t, path, device, func(r *record) { r.BootID = "32e04b90-260b-4949-9e03-000000000000" })
		}, NotKVM},
		{"another inode", func(t *testing.T, path string) { planted(t, path, device, func(r *record) { r.Inode++ }) }, NotKVM},
		{"another file system", func(t *testing.T, path string) { planted(t, path, device, func(r *record) { r.Dev++ }) }, NotKVM},
		{"another device number", func(t *testing.T, path string) { planted(t, path, device, func(r *record) { r.Rdev++ }) }, NotKVM},
		{"another version", func(t *testing.T, path string) { planted(t, path, device, func(r *record) { r.Version++ }) }, NotKVM},
		{"a cause that does not last", func(t *testing.T, path string) { planted(t, path, device, func(r *record) { r.Cause = Busy }) }, NotKVM},
		{"a cause nobody knows", func(t *testing.T, path string) { planted(t, path, device, func(r *record) { r.Cause = "fine" }) }, NotKVM},
		{"slow without a reason", func(t *testing.T, path string) { planted(t, path, device, func(r *record) { r.Cause = Slow }) }, NotKVM},
		{"negative time", func(t *testing.T, path string) { planted(t, path, device, func(r *record) { r.Took = -1 }) }, NotKVM},
		{"missing", func(t *testing.T, path string) { os.Remove(path) }, NotKVM},
		{"empty", func(t *testing.T, path string) { os.Truncate(path, 0) }, NotKVM},
		{"cut short", func(t *testing.T, path string) { os.Truncate(path, 40) }, NotKVM},
		{"too large", func(t *testing.T, path string) { os.Truncate(path, recordMax+1) }, NotKVM},
		{"something behind it", func(t *testing.T, path string) { appendTo(t, path, "{}") }, NotKVM},
		{"writable by others", func(t *testing.T, path string) { os.Chmod(path, 0o666) }, NotKVM},
		{"a directory", func(t *testing.T, path string) { os.Remove(path); os.Mkdir(path, 0o700) }, NotKVM},
		{"a FIFO", func(t *testing.T, path string) { os.Remove(path); unix.Mkfifo(path, 0o600) }, NotKVM},
		{"a symlink to a good one", func(t *testing.T, path string) { os.Rename(path, path+".real"); os.Symlink(path+".real", path) }, NotKVM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), ".kvm.json")
			kept := planted(t, path, device, func(*record) {})
			tt.spoil(t, path)
			got, err := Cached(t.Context(), path, device)
			if err != nil || got.Cause != tt.want {
				t.Fatalf("got %+v, %v; want %s", got, err, tt.want)
			}
			if got.Cause == Proved {
				if diff := cmp.Diff(kept, got); diff != "" {
					t.Errorf("verdict (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func appendTo(t *testing.T, path, s string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(s); err != nil {
		t.Fatal(err)
	}
}

func TestAFileOfAnotherUserIsNotTrusted(t *testing.T) {
	if os.Getuid() != 0 {
		return // nobody else can give a file away
	}
	path := filepath.Join(t.TempDir(), ".kvm.json")
	planted(t, path, "/dev/null", func(*record) {})
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(path); !errors.Is(err, errForeign) {
		t.Errorf("read: %v, want %v", err, errForeign)
	}
}

func TestAnswersThatMayChangeAreNotKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".kvm.json")
	for _, device := range []string{"/dev/null", filepath.Join(t.TempDir(), "none")} {
		if v, err := Cached(t.Context(), path, device); err != nil || v.Usable {
			t.Errorf("%s: %+v, %v", device, v, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := Cached(ctx, path, Device); !errors.Is(err, context.Canceled) || v.Cause != Interrupted {
		t.Errorf("cancelled: %+v, %v", v, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
}

func TestALastingAnswerIsKeptAndReadBack(t *testing.T) {
	if !haveKVM(t) {
		return
	}
	path := filepath.Join(t.TempDir(), ".kvm.json")
	first, err := cached(t.Context(), path, Device, time.Minute)
	if err != nil || !first.Usable {
		t.Fatalf("first: %+v, %v", first, err)
	}
	// The second is asked with a limit that a probe could not keep: the answer has to be the file's.
	second, err := cached(t.Context(), path, Device, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second, cmp.Comparer(time.Time.Equal)); diff != "" {
		t.Errorf("second (-first +second):\n%s", diff)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v, %v", entries, err)
	}
}

func TestAVerdictThatCannotBeKeptIsStillGiven(t *testing.T) {
	if !haveKVM(t) {
		return
	}
	v, err := cached(t.Context(), filepath.Join(t.TempDir(), "none", ".kvm.json"), Device, time.Minute)
	if !errors.Is(err, os.ErrNotExist) || !v.Usable {
		t.Errorf("got %+v, %v", v, err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"boot_id":"b","dev":6,"inode":9,"rdev":2792,"cause":"proved","took_ns":1000000,"reason":"","checked":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"version":1,"boot_id":"b","dev":6,"inode":9,"rdev":2792,"cause":"slow","took_ns":50000000,"reason":"r","checked":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"version":1,"cause":"busy"}`))
	f.Add([]byte(`{} {}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			if r != (record{}) {
				t.Errorf("error with a record: %+v", r)
			}
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeRecord(out)
		if err != nil && len(out) <= recordMax { // escaping may lengthen a text beyond the bound
			t.Fatalf("%s: %v", bytes.TrimSpace(out), err)
		}
		if err == nil && !again.Checked.Equal(r.Checked) {
			t.Errorf("time changed: %v, %v", r.Checked, again.Checked)
		}
	})
}
