package qmp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	goqemu "github.com/digitalocean/go-qemu/qmp"
)

// Monitor lets go-qemu's qemu.Domain and qmp/raw run on a Client, in place of its own SocketMonitor, which knows no deadline, no ids and no line
// beyond 64 KiB.
type Monitor struct {
	c        *Client
	taken    atomic.Bool
	gone     chan struct{} // closed by Disconnect: nobody reads events any more
	goneOnce sync.Once
	forward  sync.WaitGroup
}

var _ goqemu.Monitor = (*Monitor)(nil)

// Monitor adapts c, which it shares: Disconnect closes c, and events go either to the Monitor's channel or to c's own.
func (c *Client) Monitor() *Monitor { return &Monitor{c: c, gone: make(chan struct{})} }

// Connect is nil while the client's connection lives: it was negotiated when it was made.
func (m *Monitor) Connect() error { return m.c.Err() }

// Disconnect closes the client and waits for what Events started.
func (m *Monitor) Disconnect() error {
	m.goneOnce.Do(func() { close(m.gone) })
	err := m.c.Close()
	m.forward.Wait()
	return err
}

// Run runs one command given as JSON ("execute" or "exec-oob", "arguments") and returns a JSON object with its "return". An "id" is ours to
// give and is dropped. The deadline is CommandTimeout's; errors are those of Client.Execute.
func (m *Monitor) Run(command []byte) ([]byte, error) {
	var in struct {
		Execute   string          `json:"execute"`
		OutOfBand string          `json:"exec-oob"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if json.Unmarshal(command, &in) != nil {
		return nil, errors.New("run a QMP command: it is no JSON object")
	}
	if (in.Execute == "") == (in.OutOfBand == "") {
		return nil, errors.New("run a QMP command: want exactly one of \"execute\" and \"exec-oob\"")
	}
	// Decoded and written anew, so that what encode refuses cannot hide behind an escape.
	var args any
	if len(in.Arguments) > 0 {
		dec := json.NewDecoder(bytes.NewReader(in.Arguments))
		dec.UseNumber()
		if dec.Decode(&args) != nil {
			return nil, fmt.Errorf("run %q: its arguments are no JSON", in.Execute+in.OutOfBand)
		}
	}
	var value json.RawMessage
	err := m.c.execute(context.Background(), request{Execute: in.Execute, OutOfBand: in.OutOfBand}, args, &value, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Return json.RawMessage `json:"return"`
	}{value})
}

// Events gives the client's events in go-qemu's form until ctx or the connection ends, then closes the channel. It can be called once: two
// readers would share the events between them.
func (m *Monitor) Events(ctx context.Context) (<-chan goqemu.Event, error) {
	if !m.taken.CompareAndSwap(false, true) {
		return nil, errors.New("read QMP events: they are being read already")
	}
	out := make(chan goqemu.Event)
	m.forward.Go(func() {
		defer close(out)
		for {
			var e Event
			var ok bool
			select {
			case e, ok = <-m.c.events:
			case <-ctx.Done():
			case <-m.gone:
			}
			if !ok {
				return
			}
			select {
			case out <- convert(e):
			case <-ctx.Done():
				return
			case <-m.gone:
				return
			}
		}
	})
	return out, nil
}

func convert(e Event) goqemu.Event {
	g := goqemu.Event{Event: e.Name}
	g.Timestamp.Seconds, g.Timestamp.Microseconds = -1, -1
	if !e.Time.IsZero() {
		g.Timestamp.Seconds, g.Timestamp.Microseconds = e.Time.Unix(), int64(e.Time.Nanosecond()/1000)
	}
	_ = e.Decode(&g.Data) // an object by construction
	return g
}
