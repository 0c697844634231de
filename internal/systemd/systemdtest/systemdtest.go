// Package systemdtest is a model of the part of PID 1's D-Bus interface that kvmctl uses, for machines without systemd.
package systemdtest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Unit is a transient unit that the model was asked for.
type Unit struct {
	Name       string
	Mode       string
	Properties map[string]any
}

// PID1 is a systemd that has transient units and nothing else. It answers on the path Socket.
type PID1 struct {
	Socket string

	mu       sync.Mutex
	units    map[string]Unit
	asked    int
	states   map[string]string // of units, for ActiveState
	stopping bool
	result   string // of the next jobs
	silent   bool
}

// New starts a model that ends with the test.
func New(t testing.TB) *PID1 {
	t.Helper()
	p := &PID1{Socket: filepath.Join(t.TempDir(), "private"), units: map[string]Unit{}, states: map[string]string{}, result: "done"}
	l, err := net.Listen("unix", p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() { p.serve(c, func() []net.Conn { mu.Lock(); defer mu.Unlock(); return conns }) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return p
}

// Units gives the transient units that exist.
func (p *PID1) Units() map[string]Unit {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]Unit{}
	for k, v := range p.units {
		all[k] = v
	}
	return all
}

// Asked gives how many times a transient unit was asked for.
func (p *PID1) Asked() int { p.mu.Lock(); defer p.mu.Unlock(); return p.asked }

// End makes a unit vanish, as an empty scope does.
func (p *PID1) End(name string) { p.mu.Lock(); defer p.mu.Unlock(); delete(p.units, name) }

// SetStopping lets the machine be on its way down.
func (p *PID1) SetStopping() { p.mu.Lock(); defer p.mu.Unlock(); p.stopping = true }

// SetState gives a unit an ActiveState.
func (p *PID1) SetState(unit, state string) { p.mu.Lock(); defer p.mu.Unlock(); p.states[unit] = state }

// SetResult lets the next jobs end so.
func (p *PID1) SetResult(result string) { p.mu.Lock(); defer p.mu.Unlock(); p.result = result }

// Silence lets it take connections and commands and answer none.
func (p *PID1) Silence() { p.mu.Lock(); defer p.mu.Unlock(); p.silent = true }

func (p *PID1) quiet() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.silent }

// serve speaks D-Bus: the authentication of its specification ("Authentication Protocol"), then messages.
func (p *PID1) serve(c net.Conn, all func() []net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil || p.quiet() {
			break
		}
		line = strings.Trim(line, "\x00\r\n")
		switch {
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			fmt.Fprint(c, "OK 0123456789abcdef0123456789abcdef\r\n")
		case line == "AUTH":
			fmt.Fprint(c, "REJECTED EXTERNAL\r\n")
		case line == "BEGIN":
			p.talk(c, in, all)
			return
		default:
			fmt.Fprint(c, "ERROR\r\n")
		}
	}
	_, _ = in.WriteTo(io.Discard) // until it is closed
}

func (p *PID1) talk(c net.Conn, in *bufio.Reader, all func() []net.Conn) {
	for {
		m, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		if p.quiet() || m.Type != dbus.TypeMethodCall {
			continue
		}
		member, _ := m.Headers[dbus.FieldMember].Value().(string)
		reply, after := p.answer(m, member)
		reply.Headers[dbus.FieldReplySerial] = dbus.MakeVariant(m.Serial())
		send(c, reply)
		if after != nil { // PID 1 tells every private connection
			for _, other := range all() {
				send(other, after)
			}
		}
	}
}

var serial struct {
	sync.Mutex
	n uint32
}

func send(c net.Conn, m *dbus.Message) {
	serial.Lock()
	defer serial.Unlock() // whole messages, also from two connections' goroutines
	serial.n++
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		panic(err) // a mistake of the model's
	}
	binary.LittleEndian.PutUint32(b.Bytes()[8:], serial.n) // the header's third word; the library numbers only what its own Conn sends
	_, _ = c.Write(b.Bytes())                              // a client that has left needs no answer
}

func ok(body ...any) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{}, Body: body}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	return m
}

func fail(name, text string) *dbus.Message {
	return &dbus.Message{Type: dbus.TypeError, Body: []any{text}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldErrorName: dbus.MakeVariant(name), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(text))}}
}

func (p *PID1) answer(m *dbus.Message, member string) (reply, after *dbus.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch member {
	case "StartTransientUnit":
		p.asked++
		return p.start(m)
	case "ResetFailedUnit":
		return fail("org.freedesktop.systemd1.NoSuchUnit", "not loaded"), nil
	case "Get":
		if prop, _ := m.Body[1].(string); prop == "SystemState" {
			if p.stopping {
				return ok(dbus.MakeVariant("stopping")), nil
			}
			return ok(dbus.MakeVariant("running")), nil
		}
		at, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
		for unit, state := range p.states {
			if escaped(unit) == path.Base(string(at)) {
				return ok(dbus.MakeVariant(state)), nil
			}
		}
		return ok(dbus.MakeVariant("inactive")), nil
	}
	return fail("org.freedesktop.DBus.Error.UnknownMethod", member), nil
}

func escaped(unit string) string {
	return strings.NewReplacer(".", "_2e", "-", "_2d", "@", "_40").Replace(unit)
}

func (p *PID1) start(m *dbus.Message) (reply, after *dbus.Message) {
	name, _ := m.Body[0].(string)
	mode, _ := m.Body[1].(string)
	if _, there := p.units[name]; there {
		return fail("org.freedesktop.systemd1.UnitExists", "Unit "+name+" was already loaded or has a fragment file."), nil
	}
	u := Unit{Name: name, Mode: mode, Properties: map[string]any{}}
	props, _ := m.Body[2].([][]any)
	for _, kv := range props {
		key, _ := kv[0].(string)
		v, _ := kv[1].(dbus.Variant)
		u.Properties[key] = v.Value()
	}
	if p.result == "done" {
		p.units[name] = u
	}
	job := dbus.ObjectPath("/org/freedesktop/systemd1/job/7")
	body := []any{uint32(7), job, name, p.result}
	return ok(job), &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/systemd1")),
		dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.systemd1.Manager"),
		dbus.FieldMember:    dbus.MakeVariant("JobRemoved"), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(body...))}}
}
