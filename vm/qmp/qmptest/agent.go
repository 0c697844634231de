package qmptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Agent models qemu-ga behind its channel: no greeting, no ids, a parser that 0xFF resets, a guest-shutdown that is not answered. Close it.
type Agent struct {
	Interfaces string // what guest-network-get-interfaces returns, JSON

	mu     sync.Mutex
	faults map[string][]Fault
	held   []string
	down   string
	log    []string
	conn   net.Conn
	absent bool
	wg     sync.WaitGroup
}

// NewAgent is an agent, and the client's end of its channel. Absent: nothing inside the guest reads.
func NewAgent(absent bool) (*Agent, net.Conn) {
	ours, theirs := net.Pipe()
	a := &Agent{Interfaces: "[]", faults: map[string][]Fault{}, conn: ours, absent: absent}
	a.wg.Go(a.run)
	return a, theirs
}

// On makes the next commands named cmd meet these faults, one each.
func (a *Agent) On(cmd string, faults ...Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults[cmd] = append(a.faults[cmd], faults...)
}

// Commands lists what was received.
func (a *Agent) Commands() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.log...)
}

// Down is the mode of the guest-shutdown that was carried out, or "".
func (a *Agent) Down() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.down
}

// Close ends the agent and waits.
func (a *Agent) Close() {
	a.conn.Close()
	a.wg.Wait()
}

func (a *Agent) run() {
	defer a.conn.Close()
	var parser []byte
	buf := make([]byte, 4096)
	for {
		n, err := a.conn.Read(buf)
		if err != nil {
			return
		}
		if a.absent {
			continue // the bytes stay in the channel's buffer
		}
		for _, b := range buf[:n] {
			switch b {
			case 0xFF:
				parser = parser[:0]
			case '\n':
				if !a.command(parser) {
					return
				}
				parser = parser[:0]
			default:
				parser = append(parser, b)
			}
		}
	}
}

func (a *Agent) command(line []byte) bool {
	var in struct {
		Execute   string          `json:"execute"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if json.Unmarshal(bytes.TrimSpace(line), &in) != nil {
		return a.say(`{"error": {"class": "GenericError", "desc": "JSON parse error, expecting value"}}` + "\n")
	}
	a.mu.Lock()
	a.log = append(a.log, in.Execute)
	answer := a.act(in.Execute, in.Arguments)
	var f *Fault
	if q := a.faults[in.Execute]; len(q) > 0 {
		f, a.faults[in.Execute] = &q[0], q[1:]
	}
	var before []string
	if f == nil || f.kind != late {
		before, a.held = a.held, nil
	}
	if f != nil && f.kind == late {
		a.held = append(a.held, answer)
	}
	a.mu.Unlock()
	for _, s := range before {
		a.say(s)
	}
	if f == nil {
		return a.say(answer)
	}
	switch f.kind {
	case stall, late:
		return true
	case truncate:
		a.say(answer[:len(answer)/2])
		return false
	case reset:
		return false
	case big:
		return a.say(`{"return": "` + strings.Repeat("x", f.n) + "\"}\n")
	case garbage:
		return a.say(f.text + answer)
	case twice:
		return a.say(answer + answer)
	case refuse:
		class, desc, _ := strings.Cut(f.text, "\x00")
		e, _ := json.Marshal(map[string]string{"class": class, "desc": desc})
		return a.say(`{"error": ` + string(e) + "}\n")
	}
	return a.say(answer)
}

// act is the model; the caller holds the lock. Late answers go out before the next command's, as an agent works in order.
func (a *Agent) act(cmd string, args json.RawMessage) string {
	var in struct {
		ID   json.RawMessage `json:"id"`
		Mode string          `json:"mode"`
	}
	_ = json.Unmarshal(args, &in)
	switch cmd {
	case "guest-sync-delimited":
		return "\xff" + `{"return": ` + string(in.ID) + "}\n"
	case "guest-sync":
		return `{"return": ` + string(in.ID) + "}\n"
	case "guest-ping", "guest-set-user-password":
		return `{"return": {}}` + "\n"
	case "guest-shutdown":
		if len(a.faults[cmd]) == 0 {
			a.down = in.Mode
		}
		return ""
	case "guest-network-get-interfaces":
		return `{"return": ` + a.Interfaces + "}\n"
	}
	return fmt.Sprintf(`{"error": {"class": "CommandNotFound", "desc": "The command %s has not been found"}}`+"\n", cmd)
}

func (a *Agent) say(s string) bool {
	_, err := io.WriteString(a.conn, s)
	return err == nil
}
