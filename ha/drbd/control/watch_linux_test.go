package control

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/internal/runner"
)

// follow is `drbdsetup events2`.
func (n *node) follow(ctx context.Context, c runner.Command) (runner.Result, error) {
	events := make(chan string, 100)
	n.mu.Lock()
	for _, line := range n.telling() {
		events <- line
	}
	n.followers = append(n.followers, events)
	n.mu.Unlock()
	for {
		select {
		case line, ok := <-events:
			if !ok {
				return runner.Result{Exit: -1, Signal: 9}, nil
			}
			if _, err := c.Stdout.Write([]byte(line[:len(line)/2])); err != nil { // lines come in pieces
				return runner.Result{}, err
			}
			if _, err := c.Stdout.Write([]byte(line[len(line)/2:] + "\n")); err != nil {
				return runner.Result{}, err
			}
		case <-ctx.Done():
			return runner.Result{}, context.Cause(ctx)
		}
	}
}

// becomes changes the role, and tells who follows, unless events are lost.
func (n *node) becomes(role drbd.Role) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resource.Role = role
	if n.deaf {
		return
	}
	for _, f := range n.followers {
		f <- fmt.Sprintf("change resource name:r0 role:%s", role)
	}
}

// killFollowers ends every events2, and those to come hear, or do not.
func (n *node) killFollowers() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.followers {
		close(f)
	}
	n.followers = nil
}

// watched is a node under watch in a bubble, with what was told last.
type watched struct {
	*node
	last  Told
	count int
	at    time.Time
}

func watching(t *testing.T, n *node) *watched {
	w := &watched{node: n}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := New(n).Watch(ctx, Watching{}, func(told Told) { w.last, w.at = told, time.Now(); w.count++ }); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return w
}

func (w *watched) role() drbd.Role {
	r, _ := w.last.State.Resource("r0")
	return r.Role
}

func TestWatch(t *testing.T) {
	t.Run("a change comes at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := watching(t, &node{resource: good0()})
			if w.role() != drbd.Secondary || w.count != 1 || w.last.Event.Kind != "" {
				t.Fatalf("at first %+v, told %d times", w.last, w.count)
			}
			began := time.Now()
			w.becomes(drbd.Primary)
			synctest.Wait()
			if w.role() != drbd.Primary || !w.at.Equal(began) || w.last.Event.Get("role") != "Primary" {
				t.Errorf("told %+v after %v", w.last, w.at.Sub(began))
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if w.count != 2 {
				t.Errorf("told %d times when nothing happened", w.count)
			}
		})
	})
	t.Run("events2 is killed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := watching(t, &node{resource: good0()})
			time.Sleep(10 * time.Second)
			began := time.Now()
			w.mu.Lock()
			w.resource.Role = drbd.Primary
			w.mu.Unlock()
			w.killFollowers()
			synctest.Wait()
			if w.role() != drbd.Primary || !w.at.Equal(began) {
				t.Errorf("told %+v after %v", w.last, w.at.Sub(began))
			}
		})
	})
	t.Run("events2 is silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := watching(t, &node{resource: good0()})
			began := time.Now()
			w.mu.Lock()
			w.deaf = true
			w.mu.Unlock()
			w.becomes(drbd.Primary)
			time.Sleep(6 * time.Second)
			synctest.Wait()
			if w.role() != drbd.Primary || w.at.Sub(began) > 5500*time.Millisecond {
				t.Errorf("told %+v after %v", w.last, w.at.Sub(began))
			}
		})
	})
	t.Run("events2 talks nonsense", func(t *testing.T) {
		for _, line := range []string{"change resource name:r7 role:Primary", "hello"} {
			synctest.Test(t, func(t *testing.T) {
				w := watching(t, &node{resource: good0()})
				time.Sleep(10 * time.Second)
				w.mu.Lock()
				w.followers[0] <- line
				w.followers = nil
				w.resource.Role = drbd.Primary
				w.mu.Unlock()
				synctest.Wait()
				if w.role() != drbd.Primary || w.last.Err != nil {
					t.Errorf("after %q: told %+v", line, w.last)
				}
			})
		}
	})
	t.Run("events are told while a look takes long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := watching(t, &node{resource: good0(), slow: 3 * time.Second})
			time.Sleep(6 * time.Second) // the look has begun after 5
			began := time.Now()
			w.becomes(drbd.Primary)
			synctest.Wait()
			if w.role() != drbd.Primary || !w.at.Equal(began) {
				t.Errorf("told %+v after %v", w.last, w.at.Sub(began))
			}
		})
	})
	t.Run("the module goes and comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := watching(t, &node{resource: good0()})
			w.mu.Lock()
			w.broken = true
			w.mu.Unlock()
			time.Sleep(time.Minute)
			synctest.Wait()
			if !errors.Is(w.last.Err, NoModule) || w.count != 2 || len(w.last.State.Resources) > 0 {
				t.Errorf("told %+v, %d times", w.last, w.count)
			}
			w.mu.Lock()
			w.broken = false
			w.mu.Unlock()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if w.role() != drbd.Secondary || w.last.Err != nil || w.count != 3 {
				t.Errorf("told %+v, %d times", w.last, w.count)
			}
		})
	})
	t.Run("a helper is called", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := watching(t, &node{resource: good0()})
			w.followers[0] <- "call helper name:r0 peer-node-id:0 conn-name:peer helper:split-brain"
			synctest.Wait()
			if w.last.Event.Object != "helper" || w.last.Event.Get("helper") != "split-brain" || w.role() != drbd.Secondary {
				t.Errorf("told %+v", w.last)
			}
		})
	})
}
