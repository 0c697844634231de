package qmp_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/digitalocean/go-qemu/qemu"
	"github.com/google/go-cmp/cmp"

	"kvmctl/vm/qmp"
	"kvmctl/vm/qmp/qmptest"
)

func TestMonitorRunsCommandsGivenAsJSON(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		m := c.Monitor()
		out, err := m.Run([]byte(`{"execute": "query-version", "arguments": {}, "id": 17}`))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(`{"return":{"qemu":{"micro":22,"minor":2,"major":7},"package":""}}`, string(out)); d != "" {
			t.Error(d)
		}
		if _, err := m.Run([]byte(`{"exec-oob": "query-status"}`)); err != nil {
			t.Error(err)
		}
		sent := len(p.Commands())
		for _, tt := range []struct{ in, text string }{
			{`{"execute": "stop"`, "run a QMP command: it is no JSON object"},
			{`{}`, `run a QMP command: want exactly one of "execute" and "exec-oob"`},
			{`{"execute": "a", "exec-oob": "b"}`, `run a QMP command: want exactly one of "execute" and "exec-oob"`},
			{`{"execute": "stop", "arguments": [1]}`, `run "stop": arguments of type []interface {} are not a JSON object`},
			{`{"execute": "stop", "arguments": {"a": "\uffff"}}`, `run "stop": the arguments hold U+FFFF, which QEMU refuses`},
		} {
			_, err := m.Run([]byte(tt.in))
			wantError(t, err, tt.text)
		}
		if len(p.Commands()) != sent {
			t.Errorf("sent %q", p.Commands()[sent:])
		}
		p.On("stop", qmptest.Stall())
		_, err = m.Run([]byte(`{"execute": "stop"}`))
		wantError(t, err, `run "stop": no answer after 30s: context deadline exceeded`)
	})
}

func TestMonitorGivesEventsInGoQEMUsForm(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		m := c.Monitor()
		events, err := m.Events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.Emit("X", `{"a": 1}`)
		e := <-events
		if e.Event != "X" || e.Data["a"] != 1.0 || e.Timestamp.Seconds != 1700000000 || e.Timestamp.Microseconds != 250000 {
			t.Errorf("%+v", e)
		}
		if _, err := m.Events(t.Context()); err == nil {
			t.Error("two readers would share the events")
		}
		if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
			t.Fatal(err)
		}
		if e := <-events; e.Event != "SHUTDOWN" {
			t.Errorf("%+v, want what came right before the end", e)
		}
		if _, open := <-events; open {
			t.Error("the channel stays open behind the end")
		}
	})
}

func TestMonitorEndsWithUnreadEvents(t *testing.T) {
	// go-qemu's own monitor hangs in Disconnect here, and its Run before.
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		d, err := qemu.NewDomain(c.Monitor(), "test")
		if err != nil {
			t.Fatal(err)
		}
		p.On("query-version", qmptest.Flood(1000))
		if v, err := d.Version(); err != nil || v != "7.2.22" {
			t.Errorf("version %q, %v", v, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		m := c.Monitor()
		ctx, cancel := context.WithCancel(t.Context())
		events, err := m.Events(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p.Emit("X", "")
		synctest.Wait()
		cancel()
		synctest.Wait()
		for range events {
			t.Error("an event after its context ended") // it stands in no queue of ours
		}
		start := time.Now()
		if err := m.Disconnect(); err != nil || time.Since(start) != 0 {
			t.Error(err)
		}
	})
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		m := c.Monitor()
		if _, err := m.Events(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Emit("X", "")
		synctest.Wait()
		if err := m.Disconnect(); err != nil { // while the event waits for a reader
			t.Error(err)
		}
	})
}
