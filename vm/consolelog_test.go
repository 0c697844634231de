package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// consoleHost is a host whose guest has the two parts of a console's log.
func consoleHost(t *testing.T, old, now string) *Host {
	t.Helper()
	h := &Host{Layout: Layout{Root: t.TempDir()}}
	if err := MakeDirs(h.GuestLibDir("vm-a"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{h.ConsoleLogOld("vm-a"): old, h.ConsoleLog("vm-a"): now} {
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return h
}

func (h *Host) says(t *testing.T, limit int64, s string) {
	t.Helper()
	if err := appendRotated(h.ConsoleLog("vm-a"), h.ConsoleLogOld("vm-a"), limit, []byte(s), false); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, r *ConsoleReader) string {
	t.Helper()
	var all strings.Builder
	for {
		b, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			return all.String()
		}
		all.Write(b)
	}
}

func TestAReaderBeginsSoManyBytesBeforeTheEnd(t *testing.T) {
	for _, c := range []struct {
		old, now string
		back     int64
		want     string
	}{
		{"", "", 5, ""},
		{"", "abcdef", 0, ""},
		{"", "abcdef", 2, "ef"},
		{"", "abcdef", 9, "abcdef"},
		{"uvw", "abc", 3, "abc"},
		{"uvw", "abc", 4, "wabc"},
		{"uvw", "abc", 9, "uvwabc"},
		{"uvw", "", 2, "vw"},
	} {
		h := consoleHost(t, c.old, c.now)
		r, err := h.FollowConsole("vm-a", c.back)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, r); got != c.want {
			t.Errorf("%d back in %q and %q: %q, want %q", c.back, c.old, c.now, got, c.want)
		}
		h.says(t, 1<<20, "!")
		if got := readAll(t, r); got != "!" {
			t.Errorf("%d back in %q and %q, and one more: %q", c.back, c.old, c.now, got)
		}
		r.Close()
	}
}

func TestAReaderFollowsTheLogOverItsRotations(t *testing.T) {
	for every := 1; every <= 4; every++ { // how many writes go by between two looks
		t.Run(fmt.Sprintf("a look every %d writes", every), func(t *testing.T) {
			h := consoleHost(t, "", "")
			r, err := h.FollowConsole("vm-a", 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var got, want strings.Builder
			for i := range 40 {
				line := fmt.Sprintf("line %d\n", i)
				want.WriteString(line)
				h.says(t, 25, line) // three lines fill a log
				if i%every == 0 {
					got.WriteString(readAll(t, r))
				}
			}
			got.WriteString(readAll(t, r))
			if d := cmp.Diff(want.String(), got.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestReplayIsOldAndNew(t *testing.T) {
	h := consoleHost(t, "uvw\x1b[6n", "abc")
	var out bytes.Buffer
	if err := h.ReplayConsole(t.Context(), "vm-a", &out); err != nil || out.String() != "uvw\x1b[6nabc" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestAConsoleLogThatIsALinkIsNotFollowed(t *testing.T) {
	h := consoleHost(t, "", "")
	if err := os.Symlink("/etc/passwd", h.ConsoleLog("vm-a")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.FollowConsole("vm-a", 10); err == nil {
		t.Error("a symbolic link was read")
	}
}

func TestTheWindowOfAConsoleKeepsWholeLines(t *testing.T) {
	var text []byte
	total := 0
	for i := 0; total < 4*(watchWindow+readerChunk); i++ {
		line := fmt.Appendf(nil, "line %d\r\n", i)
		total += len(line)
		text = appendText(text, line)
		if len(text) > watchWindow+readerChunk {
			t.Fatalf("%d bytes are kept", len(text))
		}
	}
	if !bytes.HasPrefix(text, []byte("line ")) || bytes.Contains(text, []byte("\r")) || !bytes.HasSuffix(text, []byte("\n")) {
		t.Errorf("kept: %.20q…", text)
	}
	endless := appendText(nil, bytes.Repeat([]byte("x"), 2*watchWindow))
	if len(endless) != watchWindow {
		t.Errorf("of an endless line %d bytes are kept, want %d", len(endless), watchWindow)
	}
}

func TestOnlyAWholePNGIsOne(t *testing.T) {
	whole := string(pngMagic) + "chunks" + string(pngEnd)
	for text, good := range map[string]bool{
		whole: true, "": false, "P6\n": false, whole[:len(whole)-1]: false, whole[1:]: false, string(pngMagic): false, whole + "x": false,
	} {
		err := CheckPNG(strings.NewReader(text), int64(len(text)))
		if (err == nil) != good || err != nil && !errors.Is(err, ErrNoPNG) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestASeatIsTakenOnce(t *testing.T) {
	path := t.TempDir() + "/lock"
	s, err := takeSeat(t.Context(), path, monitorSeat, "frodo, kvmctl monitor", Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = takeSeat(t.Context(), path, monitorSeat, "sam, kvmctl monitor", Visitor{})
	var taken *TakenError
	if !errors.As(err, &taken) || taken.By.User != "frodo" || taken.By.PID != os.Getpid() || taken.By.Since.IsZero() {
		t.Errorf("the second gets %v", err)
	}
	if who, ok := sitter(path); !ok || who.User != "frodo" {
		t.Errorf("who looks sees %v, %v", who, ok)
	}
	s.leave()
	if who, ok := sitter(path); ok {
		t.Errorf("after the first left, %v sits there", who)
	}
	if err := os.WriteFile(path, []byte(`{"user":"gollum","pid":1}`), 0o600); err != nil { // of one that was killed
		t.Fatal(err)
	}
	if who, ok := sitter(path); ok {
		t.Errorf("what a killed one wrote is believed: %v", who)
	}
	if s, err = takeSeat(t.Context(), path, monitorSeat, "sam", Visitor{}); err != nil {
		t.Fatal(err)
	}
	s.leave()
	if _, err := takeSeat(t.Context(), t.TempDir()+"/none/lock", monitorSeat, "sam", Visitor{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("where there is no run directory: %v", err)
	}
}

// A wish belongs to who holds its lock: what a killed kvmctl left throws nobody out, and one that does not leave is named.
func TestASeatIsTakenOverOnlyByWhoIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	stale := `{"user":"gollum","pid":1,"since":"2026-01-01T00:00:00Z"}` + "\n"
	if err := os.WriteFile(path+wishSuffix, []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := takeSeat(t.Context(), path, consoleSeat, "frodo, kvmctl console", Visitor{TTY: "pts/1"})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case who := <-s.taken:
		t.Fatalf("thrown out by %s, who is dead", who)
	case <-time.After(3 * wishLook):
	}
	done := make(chan *seat)
	go func() {
		sam, err := takeSeat(t.Context(), path, consoleSeat, "sam, kvmctl console", Visitor{TTY: "pts/2", Force: true})
		if err != nil {
			t.Error(err)
		}
		done <- sam
	}()
	if who := <-s.taken; who.User != "sam" || who.TTY != "pts/2" {
		t.Errorf("taken over by %+v", who)
	}
	s.leave()
	sam := <-done
	if sam == nil {
		return
	}
	select {
	case who := <-sam.taken:
		t.Errorf("thrown out by its own wish: %s", who)
	case <-time.After(3 * wishLook):
	}
	_, err = takeSeat(t.Context(), path, consoleSeat, "frodo", Visitor{Force: true}) // and sam does not leave
	var held *HeldSeatError
	if !errors.As(err, &held) || held.Hint() != fmt.Sprintf("kill %d", os.Getpid()) ||
		!strings.HasSuffix(held.Error(), ", whose kvmctl does not leave") {
		t.Errorf("%v", err)
	}
	sam.leave()
}
