//go:build linux

package arbiter

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// TestLostAnswer has the way break after etcd has carried a transaction out and before its answer came: it is not known then, and the same request asked again, at
// this endpoint or at once at another one, is answered as it was; it is not taken for somebody else's, and happens once.
func TestLostAnswer(t *testing.T) {
	m := cluster(t, 1, "http")[0]
	own := &http.Client{Transport: &http.Transport{}}
	defer own.CloseIdleConnections()
	var lose, lost atomic.Int32
	way := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := own.Post("http://"+m.client+r.URL.Path, "application/json", r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if resp.StatusCode == http.StatusOK && r.URL.Path == "/v3/kv/txn" && lose.Add(-1) >= 0 {
			lost.Add(1)
			panic(http.ErrAbortHandler) // the connection is closed without an answer
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(body) // it may have gone
	}))
	defer way.Close()
	direct := openEtcd(t, "b", nil, "http://"+m.client)
	ready(t, direct)
	if err := (backend{create: direct.Create}).creates(t.Context(), "web", "", 0, false); err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for name, endpoints := range map[string][]string{"one endpoint": {way.URL}, "another one beside it": {way.URL, "http://" + m.client}} {
		t.Run(name, func(t *testing.T) {
			n++
			a, request := openEtcd(t, "a", nil, endpoints...), Request{"web", "a", n, id(byte(n))}
			lost.Store(0)
			lose.Store(1)
			eventually(t, func() error { // on a busy machine the transaction may come at the second try
				r, err := a.Ask(t.Context(), request)
				if got := outcome(r, err); got != "unknown" && (len(endpoints) == 1 || !request.answers(r)) {
					t.Errorf("at first: %s: %v", got, err)
				}
				if lost.Load() == 0 {
					return errBetween
				}
				return nil
			})
			lose.Store(0)
			if r, err := (patient{a}).Ask(t.Context(), request); err != nil || !request.answers(r) {
				t.Errorf("again: %s: %v", outcome(r, err), err)
			}
			if lost.Load() != 1 {
				t.Errorf("%d answers were lost", lost.Load())
			}
			r, err := patient{direct}.Ask(t.Context(), Request{"web", "b", n, id(99)})
			if _, ok := err.(*LostError); !ok {
				t.Errorf("the other one: %s: %v", outcome(r, err), err)
			}
			if r, err := (patient{direct}).Look(t.Context(), "web"); err != nil || !request.answers(r) {
				t.Errorf("the record is %v (%v)", r, err)
			}
		})
	}
}
