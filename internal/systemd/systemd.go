package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// bootedDir exists if and only if systemd is PID 1 (sd_booted(3)).
const bootedDir = "/run/systemd/system"

// PrivateSocket is where PID 1 itself answers root. It needs no D-Bus daemon, so it works early at boot, late at shutdown, and from any
// login.
const PrivateSocket = "/run/systemd/private"

// Booted reports whether systemd is PID 1, at the cost of one system call.
func Booted() bool { return unix.Access(bootedDir, unix.F_OK) == nil }

// Property is one setting of a unit, by its D-Bus name and type (org.freedesktop.systemd1(5)).
type Property = sd.Property

// Prop makes a Property; value has the type that D-Bus wants: uint64 for CPUWeight, bool for SendSIGKILL, []string for Before.
func Prop(name string, value any) Property {
	return Property{Name: name, Value: dbus.MakeVariant(value)}
}

// ExecStart makes the ExecStart of a transient service: one command that is waited for as its main process.
func ExecStart(argv ...string) Property { return sd.PropExecStart(argv, false) }

// Unit is a transient unit that shall be started.
type Unit struct {
	Name       string // with its type: "kvm-vm-olorin.scope"
	Properties []Property
}

// JobError is a job for a unit that systemd took on and did not finish well.
type JobError struct {
	Unit   string
	Result string // "failed", "timeout", "canceled", "dependency", … (org.freedesktop.systemd1(5), JobRemoved)
}

func (e *JobError) Error() string { return fmt.Sprintf("systemd's job for %s: %s", e.Unit, e.Result) }

// Hint says where systemd tells more.
func (e *JobError) Hint() string { return "journalctl -b -u " + e.Unit }

// Manager is a connection to PID 1. Close it.
type Manager struct{ c *sd.Conn }

// Dial connects to PID 1 at socket, mostly PrivateSocket. Nothing done by the connection outlasts ctx's deadline, or ten seconds if it
// has none: a PID 1 that hangs must not hang its callers.
func Dial(ctx context.Context, socket string) (*Manager, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(10 * time.Second)
	}
	dial := func() (*dbus.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, err
		}
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		c, err := dbus.NewConn(conn, dbus.WithContext(ctx))
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		if err := c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	}
	c, err := sd.NewConnection(dial)
	if err != nil {
		return nil, fmt.Errorf("reach systemd at %s: %w", socket, err)
	}
	return &Manager{c}, nil
}

// Close ends the connection.
func (m *Manager) Close() { m.c.Close() }

// Stopping reports whether the machine is on its way down.
func (m *Manager) Stopping(ctx context.Context) (bool, error) {
	p, err := m.c.SystemStateContext(ctx)
	if err != nil {
		return false, fmt.Errorf("ask systemd for its state: %w", err)
	}
	s, _ := p.Value.Value().(string)
	return s == "stopping", nil
}

// ActiveState gives a unit's state: "active", "inactive", "activating", "failed", … A unit that does not exist is inactive.
func (m *Manager) ActiveState(ctx context.Context, unit string) (string, error) {
	p, err := m.c.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil {
		return "", fmt.Errorf("ask systemd for the state of %s: %w", unit, err)
	}
	s, _ := p.Value.Value().(string)
	return s, nil
}

// unitExists is systemd's error for a transient unit whose name is taken.
const unitExists = "org.freedesktop.systemd1.UnitExists"

// retryEvery is how often a name that is still taken is tried again: systemd needs a moment to hear that a scope is empty.
const retryEvery = 20 * time.Millisecond

// StartTransient starts a transient unit and returns when its job is done. A unit of that name which is ending is waited for, as long
// as ctx lets; one that failed is forgotten first.
func (m *Manager) StartTransient(ctx context.Context, u Unit) error {
	for {
		done := make(chan string, 1)
		_, err := m.c.StartTransientUnitContext(ctx, u.Name, "fail", u.Properties, done)
		var e dbus.Error
		switch {
		case err == nil:
			select {
			case result := <-done:
				if result == "done" {
					return nil
				}
				return &JobError{u.Name, result}
			case <-ctx.Done():
				return fmt.Errorf("wait for systemd's job for %s: %w", u.Name, ctx.Err())
			}
		case !errors.As(err, &e) || e.Name != unitExists:
			return fmt.Errorf("have systemd make %s: %w", u.Name, err)
		}
		_ = m.c.ResetFailedUnitContext(ctx, u.Name) // an error means that it is not that, and the next try tells
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return fmt.Errorf("have systemd make %s: %w: %w", u.Name, ctx.Err(), err)
		}
	}
}
