package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
)

// readiness is what the last one who looked at a running guest's readiness saw. Nobody looks all the time: what is not written down
// is not known, and a guest that was ready once counts as ready for the rest of its run.
type readiness struct {
	Version int       `json:"version"`
	Run     string    `json:"run"`
	Sign    string    `json:"sign"` // Ready.String()
	Ready   bool      `json:"ready"`
	At      time.Time `json:"at"`
}

const (
	readinessVersion = 1
	maxReadiness     = 8 << 10     // bytes: the longest sign, and what JSON makes of it
	noteEvery        = time.Second // how often a wait that goes on is written down
	maxSignShown     = 40          // letters of a sign in a status
)

// loadReadiness gives what is known of a run; false: nothing.
func (l Layout) loadReadiness(name, run string) (readiness, bool) {
	b, err := smallfile.Read(l.run(name, readyName), maxReadiness)
	if err != nil {
		return readiness{}, false
	}
	return decodeReadiness(bytes.NewReader(b), run)
}

func decodeReadiness(from io.Reader, run string) (r readiness, known bool) {
	if json.NewDecoder(from).Decode(&r) != nil || r.Version != readinessVersion || r.Run != run {
		return readiness{}, false
	}
	return r, true
}

// Noting wraps the check for a guest's sign of readiness: what it sees is written down beside the running guest, for status. It is talk; a
// failure to write it is no failure of the wait.
func (h *Host) Noting(name string, sign Ready, check Check) Check {
	var last time.Time
	return func(ctx context.Context) error {
		err := check(ctx)
		// A check that ran out of time saw that the guest is not ready; one that was interrupted saw nothing.
		if now := time.Now(); err == nil || now.Sub(last) >= noteEvery && !errors.Is(ctx.Err(), context.Canceled) {
			last = now
			h.noteReadiness(name, sign, err == nil, now)
		}
		return err
	}
}

func (h *Host) noteReadiness(name string, sign Ready, ready bool, now time.Time) {
	st, err := h.loadState(name)
	if err != nil { // it does not run
		return
	}
	b, err := json.Marshal(readiness{readinessVersion, st.Run, sign.String(), ready, now})
	if err == nil {
		_ = atomicfile.WriteVolatile(h.run(name, readyName), b, 0o600)
	}
}

// SeenReady reports whether somebody saw this sign in the guest's present run.
func (h *Host) SeenReady(name string, sign Ready) bool {
	st, err := h.loadState(name)
	if err != nil {
		return false
	}
	r, known := h.loadReadiness(name, st.Run)
	return known && r.Ready && r.Sign == sign.String()
}

// readyNote completes the status of a running guest that has a sign of readiness: one that somebody missed, and nobody has seen since.
func (h *Host) readyNote(s *Status, now time.Time) {
	r, known := h.loadReadiness(s.Name, s.StateOf.Run)
	if !known {
		return
	}
	s.Ready = &r.Ready
	if !r.Ready && s.State == StateRunning {
		sign := []rune(r.Sign)
		if len(sign) > maxSignShown {
			sign = append(sign[:maxSignShown], '…')
		}
		s.Note = "not ready yet: " + string(sign) + " (looked " + now.Sub(r.At).Round(time.Second).String() + " ago)"
	}
}
