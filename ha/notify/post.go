package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/failover"
)

// When a message is tried again: 10 s after the first try, twice as long each further time, at most 5 min. A relay that comes back is noticed
// within that.
const (
	tryAgain  = 10 * time.Second
	tryRarely = 5 * time.Minute
	lastTries = 5 * time.Second // for what waits when the agent ends
	inWaiting = 256             // messages between the agent's loop and the spool
)

// Post carries alerts. Say never waits; Run does the work.
type Post struct {
	Dir string       // of the spools
	Log *slog.Logger // of what could not be delivered

	in     chan Message
	ended  chan struct{} // closed when nothing more is put into the spools
	mu     sync.Mutex
	spec   ha.Spec
	lost   int                  // that found no room on their way to the spool
	since  map[about]time.Time  // of alerts that last
	number uint64               // of the last message
	change map[string]chan bool // by voice: there is something to deliver, or to deliver otherwise
	spools map[string]*spool
}

type about struct {
	group   string
	subject failover.Subject
	name    string
}

// New makes a post; s says how its voices are reached until Use says otherwise.
func New(dir string, log *slog.Logger, s ha.Spec) *Post {
	p := &Post{Dir: dir, Log: log, spec: s, in: make(chan Message, inWaiting), ended: make(chan struct{}),
		since: map[about]time.Time{}, change: map[string]chan bool{}, spools: map[string]*spool{}}
	for _, name := range []string{voiceMail, voiceWebhook, voiceCommand} {
		p.change[name] = make(chan bool, 1)
	}
	return p
}

// Use takes a new configuration.
func (p *Post) Use(s ha.Spec) {
	p.mu.Lock()
	p.spec = s
	p.mu.Unlock()
	for _, c := range p.change {
		wake(c)
	}
}

func wake(c chan bool) {
	select {
	case c <- true:
	default:
	}
}

// Say takes an alert. It waits for nobody.
func (p *Post) Say(s ha.Spec, g ha.Group, a failover.Alert) {
	now := time.Now() // for people
	p.mu.Lock()
	defer p.mu.Unlock()
	key := about{g.Name, a.Subject, a.Name}
	since, lasts := p.since[key]
	if !lasts {
		since = now
	}
	switch a.Kind {
	case failover.AlertFirst, failover.AlertReminder:
		p.since[key] = since
	case failover.AlertEnd:
		delete(p.since, key)
	case failover.AlertNotice:
		since = now
	}
	m := newMessage(s, g, a, now, since)
	p.number++
	m.ID = messageID(now, p.number)
	select {
	case p.in <- m:
	default:
		p.lost++
	}
}

// messageID sorts by time.
func messageID(now time.Time, n uint64) string {
	return fmt.Sprintf("%020d-%06d", now.UnixNano(), n%1e6)
}

// Run keeps and delivers until ctx ends; then what waits is tried for 5 s more, and the rest stays on disk.
func (p *Post) Run(ctx context.Context) error {
	var errs []error
	for name := range p.change {
		s, err := openSpool(filepath.Join(p.Dir, name))
		errs = append(errs, err) // it works from memory, then
		p.spools[name] = s
	}
	last, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var work sync.WaitGroup
	for name := range p.change {
		work.Go(func() { p.deliver(ctx, last, name) })
	}
	p.keep(ctx)
	end := time.AfterFunc(lastTries, stop)
	defer end.Stop()
	work.Wait()
	return errors.Join(errs...)
}

// keep puts what was said into the spools.
func (p *Post) keep(ctx context.Context) {
	for {
		select {
		case m := <-p.in:
			p.store(m)
		case <-ctx.Done():
			defer close(p.ended)
			for {
				select {
				case m := <-p.in:
					p.store(m)
				default:
					return
				}
			}
		}
	}
}

func (p *Post) store(m Message) {
	p.mu.Lock()
	all, lost := voices(p.spec), p.lost
	p.lost = 0
	p.mu.Unlock()
	for _, v := range all {
		s := p.spools[v.name]
		if lost > 0 {
			s.mu.Lock()
			s.setDropped(s.dropped + lost)
			s.mu.Unlock()
		}
		if err := s.add(m); err != nil {
			p.Log.Warn("a message waits in memory only", "voice", v.name, "error", err)
		}
		wake(p.change[v.name])
	}
}

// deliver tries what waits for one voice, oldest first, until ctx has ended and all is delivered or last ends.
func (p *Post) deliver(ctx, last context.Context, name string) {
	pause, failed := tryAgain, false
	for {
		m, ok, err := p.spools[name].oldest()
		if err != nil {
			p.Log.Warn("the spool is damaged", "voice", name, "error", err)
		}
		v, configured := p.voice(name)
		if !ok || !configured {
			select {
			case <-p.change[name]:
				continue
			case <-p.ended:
			}
			if !configured || !p.more(name) {
				return
			}
			continue
		}
		final := ctx.Err() != nil
		if err = v.send(last, m); err == nil {
			if failed {
				p.Log.Info("messages are delivered again", "voice", name, "to", v.to)
			}
			pause, failed = tryAgain, false
			if err := p.spools[name].done(m); err != nil {
				p.Log.Warn("a message that was delivered will be delivered again", "voice", name, "error", err)
				p.rest(ctx, last, tryRarely)
			}
			continue
		}
		p.Log.Warn("a message could not be delivered and waits", "voice", name, "to", v.to, "headline", m.Headline, "again_in", pause, "error", err)
		failed = true
		if final || !p.rest(ctx, last, pause) {
			return
		}
		pause = min(2*pause, tryRarely)
	}
}

// Kept waits, once Run's context has ended, until all that was said is in the spools.
func (p *Post) Kept() { <-p.ended }

// more reports whether something waits.
func (p *Post) more(name string) bool {
	_, ok, _ := p.spools[name].oldest()
	return ok
}

// rest waits, and reports whether to go on.
func (p *Post) rest(ctx, last context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return true // one last try
	case <-last.Done():
		return false
	}
}

func (p *Post) voice(name string) (voice, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range voices(p.spec) {
		if v.name == name {
			return v, true
		}
	}
	return voice{}, false
}
