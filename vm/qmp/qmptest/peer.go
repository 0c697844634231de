package qmptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Greeting is what a QEMU 7.2 with out-of-band support says.
const Greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2+dfsg-7+deb12u18+b3"}, "capabilities": ["oob"]}}`

// Peer models a QMP monitor of a guest that was started with -S: run state, negotiation, one client at a time, events. Close it.
type Peer struct {
	Greeting string // sent to each client; "" for a silent QEMU. Set it before the first client comes.

	mu      sync.Mutex
	state   string // query-status
	faults  map[string][]Fault
	held    []func()
	conns   map[net.Conn]bool
	client  *client
	log     []string
	closed  bool
	serving chan struct{} // the token of the one client that is served
	gone    chan struct{}
	ls      []net.Listener
	wg      sync.WaitGroup
}

// client is the one that is served.
type client struct {
	conn       net.Conn
	negotiated bool
	wmu        sync.Mutex
}

// New is a monitor of a guest in prelaunch.
func New() *Peer {
	return &Peer{Greeting: Greeting, state: "prelaunch", faults: map[string][]Fault{}, conns: map[net.Conn]bool{},
		serving: make(chan struct{}, 1), gone: make(chan struct{})}
}

// On makes the next commands named cmd meet these faults, one each. "" is the moment of the greeting.
func (p *Peer) On(cmd string, faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[cmd] = append(p.faults[cmd], faults...)
}

// Release sends the answers that Late held back.
func (p *Peer) Release() {
	p.mu.Lock()
	held := p.held
	p.held = nil
	p.mu.Unlock()
	for _, f := range held {
		f()
	}
}

// Commands lists what was received, without ids.
func (p *Peer) Commands() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.log...)
}

// Pipe connects a client in memory.
func (p *Peer) Pipe() net.Conn {
	ours, theirs := net.Pipe()
	p.Serve(ours)
	return theirs
}

// Listen serves clients on a unix socket.
func (p *Peer) Listen(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.ls = append(p.ls, l)
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.Serve(conn)
		}
	})
	return nil
}

// Serve takes one end of a connection. A second client waits, unanswered, until the first has gone.
func (p *Peer) Serve(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return
	}
	p.conns[conn] = true
	p.wg.Go(func() {
		defer conn.Close()
		select {
		case p.serving <- struct{}{}:
		case <-p.gone:
			return
		}
		c := &client{conn: conn}
		p.mu.Lock()
		p.client = c
		p.mu.Unlock()
		p.run(c)
		p.mu.Lock()
		p.client = nil
		delete(p.conns, conn)
		p.mu.Unlock()
		<-p.serving
	})
}

// Close ends all clients and waits.
func (p *Peer) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.gone)
	}
	for conn := range p.conns {
		conn.Close()
	}
	for _, l := range p.ls {
		l.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// Emit sends an event, as QEMU does, to a client that has negotiated. data is a JSON object, or "" for none.
func (p *Peer) Emit(name, data string) {
	p.mu.Lock()
	c := p.client
	live := c != nil && c.negotiated
	p.mu.Unlock()
	if live {
		c.send(event(name, data))
	}
}

func event(name, data string) string {
	if data != "" {
		data = `, "data": ` + data
	}
	return fmt.Sprintf(`{"timestamp": {"seconds": 1700000000, "microseconds": 250000}, "event": %q%s}`, name, data)
}

func (c *client) send(line string) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, _ = io.WriteString(c.conn, line+"\r\n") // a client that went is seen by the reader
}

func (p *Peer) run(c *client) {
	if f, ok := p.fault(""); ok {
		if !p.misbehave(c, f, p.Greeting, "") {
			return
		}
	} else if p.Greeting != "" {
		c.send(p.Greeting)
	}
	br := bufio.NewReader(c.conn)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		if !p.command(c, line) {
			return
		}
	}
}

func (p *Peer) fault(cmd string) (Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.faults[cmd]
	if len(q) == 0 {
		return Fault{}, false
	}
	p.faults[cmd] = q[1:]
	return q[0], true
}

// command answers one line; false ends the connection.
func (p *Peer) command(c *client, line string) bool {
	var in struct {
		Execute   string          `json:"execute"`
		OutOfBand string          `json:"exec-oob"`
		Arguments json.RawMessage `json:"arguments"`
		ID        json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal([]byte(line), &in); err != nil {
		c.send(`{"error": {"class": "GenericError", "desc": "JSON parse error"}}`)
		return true
	}
	cmd := in.Execute + in.OutOfBand
	p.mu.Lock()
	p.log = append(p.log, strings.TrimSpace(cmd+" "+string(in.Arguments)))
	p.mu.Unlock()
	body, events := p.act(c, cmd)
	id := ""
	if in.ID != nil {
		id = `, "id": ` + string(in.ID)
	}
	for _, e := range events {
		c.send(e) // QEMU reports before it answers
	}
	ok := true
	if f, found := p.fault(cmd); found {
		ok = p.misbehave(c, f, body, id)
	} else {
		c.send(object(body, id))
	}
	return ok && cmd != "quit"
}

// object puts an answer together in QEMU's order of keys: the id follows a return and precedes an error.
func object(body, id string) string {
	if strings.HasPrefix(body, `"error"`) && id != "" {
		return "{" + strings.TrimPrefix(id, ", ") + ", " + body + "}"
	}
	return "{" + body + id + "}"
}

// act is the model: what a command does and answers.
func (p *Peer) act(c *client, cmd string) (body string, events []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const done = `"return": {}`
	if !c.negotiated && cmd != "qmp_capabilities" {
		return `"error": {"class": "CommandNotFound", "desc": "Expecting capabilities negotiation with 'qmp_capabilities'"}`, nil
	}
	switch cmd {
	case "qmp_capabilities":
		if c.negotiated {
			return `"error": {"class": "CommandNotFound", "desc": "Capabilities negotiation is already complete, command ignored"}`, nil
		}
		c.negotiated = true
		return done, nil
	case "query-status":
		return fmt.Sprintf(`"return": {"status": %q, "singlestep": false, "running": %t}`, p.state, p.state == "running"), nil
	case "query-version":
		return `"return": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}`, nil
	case "cont":
		if p.state == "running" {
			return done, nil
		}
		p.state = "running"
		return done, []string{event("RESUME", "")}
	case "stop":
		if p.state != "running" {
			return done, nil
		}
		p.state = "paused"
		return done, []string{event("STOP", "")}
	case "system_powerdown":
		return done, []string{event("POWERDOWN", "")}
	case "quit":
		return done, []string{event("SHUTDOWN", `{"guest": false, "reason": "host-qmp-quit"}`)}
	case "set_password", "object-add":
		return done, nil
	case "add-fd": // the model looks at no file that came along
		return `"error": {"class": "GenericError", "desc": "No file descriptor supplied via SCM_RIGHTS"}`, nil
	case "human-monitor-command": // whatever the line, it is taken for "info status"
		text := p.state
		if text == "prelaunch" {
			text = "paused (prelaunch)"
		}
		return `"return": "VM status: ` + text + `\r\n"`, nil
	}
	return fmt.Sprintf(`"error": {"class": "CommandNotFound", "desc": "The command %s has not been found"}`, cmd), nil
}
