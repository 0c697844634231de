package hatest

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// sampleEvery is the time between two looks at who holds an address.
const sampleEvery = 5 * time.Millisecond

// Span is a time in which a node held the address, from the first look that saw it to the first that did not.
type Span struct {
	Node     string
	From, To time.Time // To is zero while it lasts
}

// Holders watches which nodes have an address.
type Holders struct {
	nodes []*Node
	addr  netip.Addr
	quit  chan struct{}
	stop  func()
	all   sync.WaitGroup

	mu    sync.Mutex
	spans []Span
	dual  time.Duration
	gap   time.Duration
	err   error
}

// Holders starts to look, every 5 ms, at who has addr. Stop ends it; so does the lab.
func (l *Lab) Holders(addr netip.Addr) *Holders {
	h := &Holders{nodes: l.Nodes(), addr: addr, quit: make(chan struct{})}
	h.stop = sync.OnceFunc(func() { close(h.quit) })
	h.all.Go(h.run)
	l.atEnd(h.Stop)
	return h
}

func (h *Holders) run() {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	last := time.Now()
	wasDual := false
	for {
		now := time.Now()
		holding, err := h.look()
		if err == nil && len(holding) > 1 {
			// The nodes were asked one after the other, and the address may have moved in between: only one that is still on both is.
			holding, err = h.look()
		}
		h.mu.Lock()
		if err != nil {
			h.err = err
			h.mu.Unlock()
			return
		}
		h.note(now, holding)
		if wasDual {
			h.dual += now.Sub(last)
		}
		wasDual = len(holding) > 1
		h.gap = max(h.gap, now.Sub(last))
		last = now
		h.mu.Unlock()
		select {
		case <-t.C:
		case <-h.quit:
			return
		}
	}
}

// look asks every node.
func (h *Holders) look() (holding []string, err error) {
	for _, n := range h.nodes {
		has, err := n.Holds(h.addr)
		if err != nil {
			return nil, err
		}
		if has {
			holding = append(holding, n.Name)
		}
	}
	return holding, nil
}

// note keeps the spans up to date.
func (h *Holders) note(now time.Time, holding []string) {
	var open []string
	for i, s := range h.spans {
		if !s.To.IsZero() {
			continue
		}
		if slices.Contains(holding, s.Node) {
			open = append(open, s.Node)
		} else {
			h.spans[i].To = now
		}
	}
	for _, name := range holding {
		if !slices.Contains(open, name) {
			h.spans = append(h.spans, Span{Node: name, From: now})
		}
	}
}

// Stop ends the watch; the error is one that kept it from looking.
func (h *Holders) Stop() error {
	h.stop()
	h.all.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Now gives the nodes that held the address at the last look, in the order in which they got it.
func (h *Holders) Now() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var now []string
	for _, s := range h.spans {
		if s.To.IsZero() {
			now = append(now, s.Node)
		}
	}
	return now
}

// Spans gives who had it when.
func (h *Holders) Spans() []Span {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.spans)
}

// Dual is the time in which more than one node had the address.
func (h *Holders) Dual() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dual
}

// Gap is the longest time between two looks: what may have escaped them.
func (h *Holders) Gap() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gap
}
