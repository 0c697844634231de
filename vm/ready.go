package vm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Ready says by what a guest shows that it is ready for those that come after it. The zero value: as soon as it runs.
type Ready struct {
	Kind    ReadyKind
	Port    uint16        // for ReadyTCP
	Pattern string        // for ReadyConsole: RE2 syntax, matched line by line
	Timeout time.Duration // how long the guest may take, from the moment in which somebody begins to wait
}

// ReadyKind is a kind of sign.
type ReadyKind string

// The signs by which a guest shows that it is ready.
const (
	ReadyAgent   ReadyKind = "agent"   // its agent answers a ping
	ReadyTCP     ReadyKind = "tcp"     // a connection to a port is taken
	ReadyConsole ReadyKind = "console" // its serial console has said what matches
	ReadyPing    ReadyKind = "ping"    // it answers an ICMP echo
)

// ReadyForms lists what ParseReady takes, for messages.
const ReadyForms = `agent, ping, tcp:PORT, console:REGEX`

// maxPattern bounds the expression of ReadyConsole, in bytes.
const maxPattern = 4 << 10

// UnknownReadyError says that a text is no sign of readiness at all.
type UnknownReadyError struct{ Text string }

func (e *UnknownReadyError) Error() string {
	return fmt.Sprintf("%q is none of %s", e.Text, ReadyForms)
}

// ParseReady reads "agent", "ping", "tcp:PORT" or "console:REGEX". Timeout stays 0.
func ParseReady(s string) (Ready, error) {
	kind, arg, hasArg := strings.Cut(s, ":")
	r := Ready{Kind: ReadyKind(kind)}
	switch r.Kind {
	case ReadyAgent, ReadyPing:
		if hasArg {
			return Ready{}, fmt.Errorf("%s takes no argument", kind)
		}
	case ReadyTCP:
		port, err := strconv.ParseUint(arg, 10, 16)
		if err != nil || port == 0 {
			return Ready{}, fmt.Errorf("bad port %q: want tcp:1 to tcp:65535", arg)
		}
		r.Port = uint16(port)
	case ReadyConsole:
		if arg == "" || len(arg) > maxPattern {
			return Ready{}, fmt.Errorf("console: wants an expression of 1 to %d bytes", maxPattern)
		}
		r.Pattern = arg
		if _, err := r.Regexp(); err != nil {
			return Ready{}, err
		}
	default:
		return Ready{}, &UnknownReadyError{s}
	}
	return r, nil
}

// Regexp gives the expression of ReadyConsole: ^ and $ are the ends of a line.
func (r Ready) Regexp() (*regexp.Regexp, error) { return regexp.Compile("(?m)" + r.Pattern) }

// IsZero reports whether nothing is to be waited for.
func (r Ready) IsZero() bool { return r.Kind == "" }

// NeedsAddress reports whether the host has to know where the guest is.
func (r Ready) NeedsAddress() bool { return r.Kind == ReadyTCP || r.Kind == ReadyPing }

// String is what ParseReady reads; empty for the zero value.
func (r Ready) String() string {
	switch r.Kind {
	case ReadyTCP:
		return "tcp:" + strconv.Itoa(int(r.Port))
	case ReadyConsole:
		return "console:" + r.Pattern
	}
	return string(r.Kind)
}
