package qmp

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// The states of a connection that a caller acts upon. Each is found by errors.Is in what the functions of this package return.
var (
	// ErrClosed: the connection is over, by Close, by the peer's end, or by a protocol error; errors.As finds the cause.
	ErrClosed = errors.New("QMP connection closed")
	// ErrBusy: connected, but no greeting came: another client holds this monitor, or QEMU is stopped or stuck.
	ErrBusy = errors.New("no greeting: another client holds this monitor, or QEMU is silent")
	// ErrNoAgent: the guest agent's channel is there, but nothing inside the guest answers (or another client holds the channel).
	ErrNoAgent = errors.New("the guest agent does not answer")
)

// maxDesc bounds how many bytes of a peer's description an error carries: a guest agent may say anything.
const maxDesc = 1024

// Error is a command refused by QEMU or by the guest agent.
type Error struct {
	Class string // GenericError, CommandNotFound, DeviceNotActive, DeviceNotFound, KVMMissingCap
	Desc  string // one line for people, printable, at most 1024 bytes; secrets of the command are blanked
}

// Error implements error.
func (e *Error) Error() string {
	if e.Class == "" || e.Class == "GenericError" {
		return e.Desc
	}
	return e.Class + ": " + e.Desc
}

// ProtocolError is a peer that does not speak the protocol. It ends the connection. It never quotes what was read, because that may hold a secret.
type ProtocolError struct {
	Offset int64  // bytes read before the offending line
	Reason string // what is wrong with the line
}

// Error implements error.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("protocol error after %d bytes: %s", e.Offset, e.Reason)
}

// closedError is a connection that ended for a reason other than Close.
type closedError struct{ cause error }

func (e *closedError) Error() string        { return ErrClosed.Error() + ": " + e.cause.Error() }
func (e *closedError) Unwrap() error        { return e.cause }
func (e *closedError) Is(target error) bool { return target == ErrClosed }

// printable makes a peer's text safe for a terminal and a log: one line, no control characters, bounded.
func printable(s string) string {
	if len(s) > maxDesc {
		s = s[:maxDesc] + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			return '\uFFFD'
		}
		return r
	}, s)
}
