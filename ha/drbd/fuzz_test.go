package drbd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seeds puts all recorded forms of one kind in.
func seeds(f *testing.F, forms ...string) {
	for _, r := range recordings(f) {
		for _, form := range forms {
			f.Add(r[form])
		}
	}
}

func FuzzParseProc(f *testing.F) {
	seeds(f, "proc")
	for _, text := range []string{seedSync, seedPrimary, seedSecondary} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseProc(data)
		if err != nil && len(p.Minors) > 0 {
			t.Fatal("an error and a value")
		}
		s := p.State(func(minor int) (string, int, bool) { return "r", minor, true })
		if len(s.Resources) > 1 || s.parts() > 2+2*len(p.Minors) {
			t.Fatalf("%d resources, %d parts", len(s.Resources), s.parts())
		}
		predicates(t, s)
	})
}

func FuzzParseStatus(f *testing.F) {
	seeds(f, "status")
	f.Add([]byte("r0 role:Secondary\n  volume:1 disk:Inconsistent open:no\n  vm-varda role:Primary\n    volume:1 replication:SyncTarget peer-disk:UpToDate done:42.50\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStatus(data)
		if err != nil && len(s.Resources) > 0 {
			t.Fatal("an error and a value")
		}
		predicates(t, s)
	})
}

func FuzzParseStatusJSON(f *testing.F) {
	f.Add([]byte(`[{"name":"r0","role":"Primary","suspended":true,"devices":[{"volume":0,"minor":1,"disk-state":"UpToDate"}],"connections":[{"peer-node-id":1,` +
		`"connection-state":"Connected","peer_devices":[{"volume":0,"replication-state":"SyncSource","percent-in-sync":1.5}]}]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseStatusJSON(data)
		if err != nil && len(s.Resources) > 0 {
			t.Fatal("an error and a value")
		}
		predicates(t, s)
	})
}

// FuzzEvents: an event that is refused leaves the state as it was.
func FuzzEvents(f *testing.F) {
	seeds(f, "events2-now", "events2")
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := ParseEvents(data); err != nil && len(data) > MaxInput {
			return
		}
		var s State
		for line := range strings.Lines(string(data[:min(len(data), 16<<10)])) {
			e, err := ParseEvent(line)
			if err != nil {
				continue
			}
			before := s.clone()
			if err := s.Apply(e); err != nil {
				if diff := cmp.Diff(before, s); diff != "" {
					t.Fatalf("refused, and yet: %s", diff)
				}
			}
		}
		predicates(t, s)
	})
}

// predicates checks what must hold of any state.
func predicates(t *testing.T, s State) {
	t.Helper()
	for _, r := range s.Resources {
		if r.AllUpToDate() && r.Failed() || r.PeerUpToDate() && r.StandAlone() || r.Connected() && r.StandAlone() {
			t.Fatalf("contradictory: %s", meaning(r))
		}
	}
	if diff := cmp.Diff(s.Bare(), s.Bare().Bare()); diff != "" {
		t.Fatalf("bare is not bare: %s", diff)
	}
}
