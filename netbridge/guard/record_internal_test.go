package guard

import (
	"bytes"
	"testing"
)

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"x","timeout":1,"before":[{"name":"eth0","exists":true,"link":{"Name":"eth0"},"holdings":[{"kind":"address","text":"x","raw":"AA=="}]}]}`))
	f.Add([]byte(`{"version":1,"moves":[{"bridge":"br0","uplink":"eth0","mac":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decode(b)
		if (err == nil) != (rec != nil) || rec != nil && (rec.ID == "" || rec.Version != recordVersion || rec.Timeout < 0) {
			t.Errorf("%q gives %+v, error %v", b, rec, err)
		}
		if moves, err := decodeMoves(bytes.NewReader(b)); err != nil && moves != nil {
			t.Errorf("%q gives %v beside the error %v", b, moves, err)
		}
	})
}
