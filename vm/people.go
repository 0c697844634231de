package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"kvmctl/vm/qmp"
)

// PeopleMonitor is a visit to a guest's monitor for people.
type PeopleMonitor struct {
	*qmp.Client
	seat *seat
}

// Taken gets who took the monitor over; then this visit has to end.
func (m *PeopleMonitor) Taken() <-chan Sitter { return m.seat.taken }

// Close ends the visit and leaves the guest alone.
func (m *PeopleMonitor) Close() error {
	err := m.Client.Close()
	m.seat.leave()
	return err
}

// PeopleMonitor opens a running guest's monitor for people. One person uses it at a time: the others get a TakenError at once, unless
// they take it over. It is a QMP monitor; the human monitor's commands go through Client.HMP.
func (h *Host) PeopleMonitor(ctx context.Context, name string, v Visitor) (*PeopleMonitor, error) {
	s, err := takeSeat(ctx, h.MonitorLock(name), monitorSeat, h.By, v)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	if err := h.Finished(name); err != nil {
		s.leave()
		return nil, err
	}
	c, err := qmp.Dial(ctx, h.MonitorSocket(name))
	if err != nil {
		s.leave()
		return nil, fmt.Errorf("%w: %w", ErrNoMonitor, err)
	}
	return &PeopleMonitor{c, s}, nil
}

// Finished refuses people a guest that was not let go yet: with `cont` they would run it without a recorder.
func (h *Host) Finished(name string) error {
	if exists(h.run(name, startingName)) {
		return &UnfinishedError{name}
	}
	return nil
}

// Console is the writer's end of a guest's serial console.
type Console struct {
	*net.UnixConn
	seat *seat
}

// Taken gets who took the console over; then this visit has to end.
func (c *Console) Taken() <-chan Sitter { return c.seat.taken }

// greetTime is how long QEMU may take to greet or to take a connection, whatever time the caller has: one that is well does so in milliseconds.
const greetTime = time.Second

// consoleFree is how long QEMU may take to notice that the last writer has gone.
const consoleFree = time.Second

// Console connects to a running guest's serial console as its one writer; a TakenError says who is it already. What the guest
// says from now on is read from it; what it said before is in its log.
func (h *Host) Console(ctx context.Context, name string, v Visitor) (*Console, error) {
	s, err := takeSeat(ctx, h.ConsoleLock(name), consoleSeat, h.By, v)
	if err != nil {
		return nil, err
	}
	// A second client of a chardev would be let in and hear nothing.
	for until := time.Now().Add(consoleFree); h.consoleConnected(ctx, name); pause(ctx, 20*time.Millisecond) {
		if time.Now().After(until) {
			s.leave()
			return nil, &TakenError{What: consoleSeat}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	conn, err := qmp.DialUnix(ctx, h.ConsoleSocket(name))
	if err != nil {
		s.leave()
		return nil, fmt.Errorf("connect to the console: %w", err)
	}
	return &Console{conn, s}, nil
}

// Close leaves the console; the guest is not touched.
func (c *Console) Close() error {
	err := c.UnixConn.Close()
	c.seat.leave()
	return err
}

// consoleConnected asks QEMU whether a program has the console already. A QEMU that does not answer is no reason to keep the admin out.
func (h *Host) consoleConnected(ctx context.Context, name string) bool {
	c, closeMonitor, err := h.Monitor(ctx, name)
	if err != nil {
		return false
	}
	defer closeMonitor()
	var devices []json.RawMessage
	if c.Execute(ctx, "query-chardev", nil, &devices) != nil {
		return false
	}
	for _, raw := range devices {
		var d struct{ Label, Filename string }
		if json.Unmarshal(raw, &d) == nil && d.Label == consoleChardev {
			return !strings.HasPrefix(d.Filename, "disconnected:") // chardev/char-socket.c
		}
	}
	return false
}

// consoleChardev is the label that Args gives the console.
const consoleChardev = "con"
