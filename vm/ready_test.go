package vm

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestReadyIsReadStrictly(t *testing.T) {
	for in, want := range map[string]Ready{
		"agent":           {Kind: ReadyAgent},
		"ping":            {Kind: ReadyPing},
		"tcp:389":         {Kind: ReadyTCP, Port: 389},
		"console:login: ": {Kind: ReadyConsole, Pattern: "login: "},
	} {
		got, err := ParseReady(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("%q: %+v %q, %v; want %+v", in, got, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                                     `"" is none of agent, ping, tcp:PORT, console:REGEX`,
		"tpc:1":                                `"tpc:1" is none of agent, ping, tcp:PORT, console:REGEX`,
		"agent:":                               "agent takes no argument",
		"ping:1":                               "ping takes no argument",
		"tcp":                                  `bad port "": want tcp:1 to tcp:65535`,
		"tcp:0":                                `bad port "0": want tcp:1 to tcp:65535`,
		"tcp:65536":                            `bad port "65536": want tcp:1 to tcp:65535`,
		"tcp:+1":                               `bad port "+1": want tcp:1 to tcp:65535`,
		"console:":                             "console: wants an expression of 1 to 4096 bytes",
		"console:" + strings.Repeat("a", 4097): "console: wants an expression of 1 to 4096 bytes",
		"console:(":                            "error parsing regexp: missing closing ): `(?m)(`",
	} {
		if got, err := ParseReady(in); err == nil || err.Error() != want || got != (Ready{}) {
			t.Errorf("%.20q: %+v, %v; want %s", in, got, err, want)
		}
	}
	var unknown *UnknownReadyError
	if _, err := ParseReady("x"); !errors.As(err, &unknown) {
		t.Errorf("%v", err)
	}
}

func FuzzParseReady(f *testing.F) {
	for _, s := range []string{"agent", "ping", "tcp:22", "console:login: $", "console:[", "tcp:99999", "x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReady(s)
		if err != nil {
			if r != (Ready{}) {
				t.Errorf("%q: an error and %+v", s, r)
			}
			return
		}
		again, err := ParseReady(r.String())
		if err != nil || again != r {
			t.Errorf("%q: %+v, then %+v, %v", s, r, again, err)
		}
	})
}

// A check that hangs until its time is over saw that the guest is not ready, and status says so; one that somebody broke off saw nothing.
func TestWhatATimeoutSawIsNotedAndWhatAnInterruptionSawIsNot(t *testing.T) {
	t.Parallel()
	h := &Host{Layout: Layout{Root: t.TempDir()}}
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tt := range []struct {
		name  string
		until func() (context.Context, context.CancelFunc)
		known bool
	}{
		{"vm-late", func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), time.Millisecond)
		}, true},
		{"vm-broken-off", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, cancel
		}, false},
	} {
		if err := os.MkdirAll(h.RunDir(tt.name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := h.saveState(tt.name, &State{Version: stateVersion, Run: "r"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := tt.until()
		if err := h.Noting(tt.name, Ready{}, hangs)(ctx); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
		cancel()
		if r, known := h.loadReadiness(tt.name, "r"); known != tt.known || r.Ready {
			t.Errorf("%s: noted %v, %+v; want %v", tt.name, known, r, tt.known)
		}
	}
}
