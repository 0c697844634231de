package peer

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// logEvery is how often refused connections are worth a line.
const logEvery = time.Minute

// refusals says in one line a minute who was turned away, however many they are.
type refusals struct {
	log *slog.Logger

	mu    sync.Mutex
	said  time.Time
	since int             // refused since then
	news  map[string]bool // nodes whose newer version was told of
}

// count notes a refused connection.
func (r *refusals) count(from netip.Addr, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since++
	at := now()
	if !r.said.IsZero() && at.Sub(r.said) < logEvery {
		return
	}
	r.log.Warn("refused connections to the peer channel", "count", r.since, "last_from", from, "last_reason", reason(why))
	r.said, r.since = at, 0
}

// reason is why a handshake failed, in our words where they say more than crypto/tls.
func reason(err error) string {
	switch {
	case errors.Is(err, ErrStranger):
		return ErrStranger.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "it did not say who it is within " + handshakeWait.String()
	case errors.Is(err, io.EOF):
		return "it left without saying who it is"
	}
	return clean(err.Error(), 200)
}

// newer tells once of a node that speaks a later version than this program.
func (r *refusals) newer(node string, f frame, unknown []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.news[node] {
		return
	}
	if r.news == nil {
		r.news = map[string]bool{}
	}
	r.news[node] = true
	r.log.Info("a node speaks a newer peer channel; what is not known here is left out", "node", node, "program", f.Program,
		"version", f.Version, "ours", Version, "left_out", strings.Join(unknown, " "))
}
