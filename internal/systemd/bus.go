package systemd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// UnitState is what PID 1 says of a unit (org.freedesktop.systemd1(5)).
type UnitState struct {
	Load    string // "loaded", "not-found", "masked", "bad-setting", …
	Active  string // "active", "reloading", "inactive", "failed", "activating", "deactivating"
	Sub     string // of the kind of unit: "running", "exited", "auto-restart", …
	Job     uint32 // that is queued or runs for it; 0: none
	MainPID int    // of a service; 0: none
}

// ErrSilent says that PID 1 cannot be reached or does not answer.
var ErrSilent = errors.New("systemd does not answer")

// Bounds of a Bus.
const (
	busHandshake = 5 * time.Second       // for a connection to be made
	busAgain     = 50 * time.Millisecond // between its first questions
	busWrite     = 2 * time.Second       // for PID 1 to take a request
	busProof     = time.Second           // so long an answer proves that the connection lives, and what was not pushed has not happened
	busAsk       = 10 * time.Second      // a state is asked again so often although nothing was pushed
	busRetry     = 5 * time.Second       // at most between attempts to connect
)

// Bus is a lasting connection to PID 1 that hears of changes. PID 1 tells every connection to its private socket when a unit's properties
// change, without being asked to (systemd's bus_foreach_bus in src/core/dbus.c). A state that was asked for is kept until such a message
// comes, so to watch a hundred units costs one small question a second.
type Bus struct {
	socket string

	mu     sync.Mutex
	conn   *dbus.Conn    // nil while there is none
	up     chan struct{} // closed while there is one
	lost   error         // why there is none
	proved time.Time     // when PID 1 last answered on conn
	proof  chan struct{} // of the question that is under way; nil: none
	units  map[dbus.ObjectPath]*busUnit
}

type busUnit struct {
	name     string
	state    UnitState
	asked    time.Time // zero: the state is not known
	version  int       // grows with every message about it
	watchers map[*func()]struct{}
}

// NewBus gives a Bus for socket, mostly PrivateSocket; Run connects it.
func NewBus(socket string) *Bus {
	return &Bus{socket: socket, up: make(chan struct{}), units: map[dbus.ObjectPath]*busUnit{}}
}

// Run keeps the connection until ctx ends.
func (b *Bus) Run(ctx context.Context) error {
	pause := 50 * time.Millisecond
	for ctx.Err() == nil {
		conn, err := b.dial(ctx)
		if err == nil {
			pause = 50 * time.Millisecond
			err = b.serve(ctx, conn)
		}
		b.mu.Lock()
		b.lost = err
		b.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, busRetry)
	}
	return nil
}

// timelyConn gives each write a deadline: a PID 1 that reads nothing must not block whoever asks it.
type timelyConn struct{ net.Conn }

func (c timelyConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(busWrite)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (b *Bus) dial(ctx context.Context) (*dbus.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, busHandshake)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", b.socket)
	if err != nil {
		return nil, fmt.Errorf("reach systemd: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := dbus.NewConn(timelyConn{raw}, dbus.WithSignalHandler(b))
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		return nil, errors.Join(fmt.Errorf("greet systemd at %s: %w", b.socket, err), conn.Close())
	}
	if err := hello(ctx, conn); err != nil {
		return nil, errors.Join(fmt.Errorf("greet systemd at %s: %w", b.socket, err), conn.Close())
	}
	if !stop() {
		return nil, errors.Join(ctx.Err(), conn.Close())
	}
	return conn, nil
}

// hello has a first question answered. systemd 252 leaves it lying when it came so fast that it was read together with the end of the
// authentication, until something else comes on that connection (seen): so it is asked again until there is an answer.
func hello(ctx context.Context, conn *dbus.Conn) error {
	for {
		once, cancel := context.WithTimeout(ctx, busAgain)
		err := conn.Object(busName, busPath).CallWithContext(once, "org.freedesktop.DBus.Peer.Ping", 0).Err
		cancel()
		if err == nil || ctx.Err() != nil || conn.Context().Err() != nil {
			return err
		}
	}
}

// serve holds a connection until it or ctx ends.
func (b *Bus) serve(ctx context.Context, conn *dbus.Conn) error {
	b.set(conn)
	defer conn.Close()
	defer b.set(nil)
	select {
	case <-conn.Context().Done():
		return fmt.Errorf("systemd at %s has closed the connection", b.socket)
	case <-ctx.Done():
		return nil
	}
}

// set notes a connection, new or lost. Either way nothing that was known can be relied on, and whoever watches has reason to ask.
func (b *Bus) set(conn *dbus.Conn) {
	b.mu.Lock()
	b.conn, b.proved, b.lost = conn, time.Time{}, nil
	if conn != nil {
		close(b.up)
	} else {
		b.up = make(chan struct{})
	}
	var tell []func()
	for _, u := range b.units {
		tell = append(tell, u.forget()...)
	}
	b.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// forget drops what is known of a unit and gives whom to tell.
func (u *busUnit) forget() []func() {
	u.version++
	u.asked = time.Time{}
	var tell []func()
	for f := range u.watchers {
		tell = append(tell, *f)
	}
	return tell
}

// DeliverSignal implements dbus.SignalHandler: it takes one message, before anything that came after it is read. The message says of which unit
// it is, and that is all that is used of it: the state is asked for.
func (b *Bus) DeliverSignal(_, _ string, s *dbus.Signal) {
	if s.Name != "org.freedesktop.DBus.Properties.PropertiesChanged" {
		return
	}
	b.mu.Lock()
	var tell []func()
	if u := b.units[s.Path]; u != nil {
		tell = u.forget()
	}
	b.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// Watch has changed called, which must not block, after each message about a unit and when the connection comes or goes. Call stop when done.
func (b *Bus) Watch(unit string, changed func()) (stop func()) {
	key := &changed
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.unit(unit)
	u.watchers[key] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(u.watchers, key)
		if len(u.watchers) == 0 {
			maps.DeleteFunc(b.units, func(_ dbus.ObjectPath, v *busUnit) bool { return v == u })
		}
	}
}

func (b *Bus) unit(name string) *busUnit {
	path := dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + sd.PathBusEscape(name))
	if b.units[path] == nil {
		b.units[path] = &busUnit{name: name, watchers: map[*func()]struct{}{}}
	}
	return b.units[path]
}

// State gives the state of a unit that is watched. The error wraps ErrSilent when PID 1 gave no answer before ctx ended.
func (b *Bus) State(ctx context.Context, unit string) (UnitState, error) {
	for {
		conn, err := b.connection(ctx)
		if err != nil {
			return UnitState{}, err
		}
		b.mu.Lock()
		u := b.unit(unit)
		version, fresh := u.version, time.Since(u.asked) < busAsk
		state, proof, proved := u.state, b.proof, b.conn == conn && time.Since(b.proved) < busProof
		var own chan struct{}
		if fresh && !proved && proof == nil {
			own = make(chan struct{})
			b.proof = own
		}
		b.mu.Unlock()
		switch {
		case fresh && proved:
			return state, nil
		case own != nil:
			err = b.ping(ctx, conn, own)
		case fresh:
			select {
			case <-proof:
			case <-ctx.Done():
				err = silent(ctx.Err())
			}
		default:
			if state, err = ask(ctx, conn, unit); err == nil && b.keep(conn, u, version, state) {
				return state, nil
			}
		}
		if err != nil {
			return UnitState{}, err
		}
	}
}

// Known gives the state of a unit that is watched when it needs no question: it was asked for, nothing was heard of it since, and PID 1 has
// answered within the last second. It never waits.
func (b *Bus) Known(unit string) (UnitState, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.unit(unit)
	return u.state, b.conn != nil && time.Since(u.asked) < busAsk && time.Since(b.proved) < busProof
}

func silent(err error) error { return fmt.Errorf("%w: %w", ErrSilent, err) }

// connection waits for one.
func (b *Bus) connection(ctx context.Context) (*dbus.Conn, error) {
	for {
		b.mu.Lock()
		conn, up := b.conn, b.up
		b.mu.Unlock()
		if conn != nil {
			return conn, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.lost != nil {
				return nil, silent(b.lost)
			}
			return nil, silent(ctx.Err())
		}
	}
}

// ping proves for all that the connection lives. Messages that came before its answer have been taken from the wire before it.
func (b *Bus) ping(ctx context.Context, conn *dbus.Conn, own chan struct{}) error {
	err := conn.Object(busName, busPath).CallWithContext(ctx, "org.freedesktop.DBus.Peer.Ping", 0).Err
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proof = nil
	close(own)
	if err != nil {
		return silent(err)
	}
	if b.conn == conn {
		b.proved = time.Now()
	}
	return nil
}

// keep notes what was asked, unless a message came in between: then it may be older than the message.
func (b *Bus) keep(conn *dbus.Conn, u *busUnit, version int, s UnitState) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.version != version || b.conn != conn {
		return false
	}
	u.state, u.asked, b.proved = s, time.Now(), time.Now()
	return true
}

const (
	busName = "org.freedesktop.systemd1"
	busPath = dbus.ObjectPath("/org/freedesktop/systemd1")
)

// listed is one row of ListUnitsByNames (org.freedesktop.systemd1(5)).
type listed struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	Job                                             uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

func ask(ctx context.Context, conn *dbus.Conn, unit string) (UnitState, error) {
	var rows []listed
	call := conn.Object(busName, busPath).CallWithContext(ctx, busName+".Manager.ListUnitsByNames", 0, []string{unit})
	if err := call.Store(&rows); err != nil {
		if _, refused := errors.AsType[dbus.Error](err); refused {
			return UnitState{}, fmt.Errorf("ask systemd for the state of %s: %w", unit, err)
		}
		return UnitState{}, silent(err)
	}
	i := slices.IndexFunc(rows, func(r listed) bool { return r.Path != "" })
	if len(rows) != 1 || i < 0 {
		return UnitState{}, fmt.Errorf("ask systemd for the state of %s: %d answers", unit, len(rows))
	}
	r := rows[i]
	s := UnitState{Load: r.Load, Active: r.Active, Sub: r.Sub, Job: r.Job}
	if s.Active == "inactive" || s.Active == "failed" {
		return s, nil
	}
	var pid uint32
	get := conn.Object(busName, r.Path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, busName+".Service", "MainPID")
	if err := get.Store(&pid); err == nil { // else it is no service, or silent: then the next question tells
		s.MainPID = int(pid)
	}
	return s, nil
}
