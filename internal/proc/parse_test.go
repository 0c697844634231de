package proc

import (
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Stat
		err        bool
	}{
		{"plain", "7 (named) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2", Stat{"named", 'S', 4711}, false},
		{"a name that lies", "7 (a) R 1) T\n(x) T 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 1 2", Stat{"a) R 1) T\n(x", 'T', 99}, false},
		{"empty", "", Stat{}, true},
		{"cut short", "7 (named) S 1 7", Stat{}, true},
		{"no name", "7 S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2", Stat{}, true},
		{"no number", "7 (named) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 x 1 2", Stat{}, true},
	} {
		got, err := ParseStat([]byte(tt.text))
		if got != tt.want || (err != nil) != tt.err {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func TestParseState(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       byte
	}{
		{"plain", "7 (named) S 1 7 7 0", 'S'},
		{"a name that lies", "7 (a) R 1) T\n(x) T 1 7 7 0", 'T'},
		{"cut after the state", "7 (named) Z ", 'Z'},
		{"cut within the state", "7 (named) Z", 0},
		{"cut within the name", "7 (nam", 0},
		{"two letters", "7 (named) SS 1", 0},
		{"a blank more", "7 (named)   1", 0},
		{"no blank", "7 (named)S 1", 0},
		{"empty", "", 0},
	} {
		got, err := parseState([]byte(tt.text))
		if got != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStat(b); err != nil && s != (Stat{}) {
			t.Errorf("%+v beside %v", s, err)
		} else if state, serr := parseState(b); err == nil && serr == nil && state != s.State {
			t.Errorf("its state alone is %q, in all that is told %q", state, s.State)
		}
	})
}

func FuzzParsePID(f *testing.F) {
	for _, s := range []string{"1", " 42 \nx", "0", "-1", "2147483648", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if pid, err := ParsePID(b); (err == nil) != (pid > 0) {
			t.Errorf("%d, %v", pid, err)
		}
	})
}
