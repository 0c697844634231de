package peer

import (
	"errors"
	"fmt"
)

// Code is why a request was not done, in a word that both sides know.
type Code string

// The codes. One that is not known here counts as CodeFailed.
const (
	CodeFailed      Code = "failed"
	CodeRefused     Code = "refused"      // for safety
	CodeNotYet      Code = "not-yet"      // refused, but not for long
	CodeUnknownVerb Code = "unknown-verb" // the other agent is older or newer
	CodeNoStorage   Code = "no-storage"
	CodeBadRequest  Code = "bad-request"
)

// AnswerError is why a request was not done. A handler returns one to choose its code; a client gets one with Node filled in.
type AnswerError struct {
	Node    string // who answered; "" in a handler
	Program string // its version; "" in a handler
	Code    Code
	Text    string
	Advice  string // the command that helps; "" where there is none
}

func (e *AnswerError) Error() string {
	if e.Node == "" {
		return e.Text
	}
	return e.Node + " answers: " + e.Text
}

// Hint is the command that helps.
func (e *AnswerError) Hint() string { return e.Advice }

// Is makes errors.Is compare by code.
func (e *AnswerError) Is(target error) bool {
	other, ok := target.(*AnswerError)
	return ok && other.Code == e.Code
}

// What a handler answers, and what errors.Is compares with.
var (
	ErrUnknownVerb = &AnswerError{Code: CodeUnknownVerb, Text: "this agent does not know that request"}
	ErrNoStorage   = &AnswerError{Code: CodeNoStorage, Text: "this agent has no storage yet"}
	ErrRefused     = &AnswerError{Code: CodeRefused, Text: "refused"}
	ErrNotYet      = &AnswerError{Code: CodeNotYet, Text: "not yet"}
)

// wire puts an error in the form in which it travels.
func wire(err error) *wireError {
	if a, ok := errors.AsType[*AnswerError](err); ok {
		return &wireError{a.Code, a.Text, a.Advice}
	}
	out := &wireError{Code: CodeFailed, Text: clean(err.Error(), 500)}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		out.Hint = clean(h.Hint(), 500)
	}
	return out
}

// UnreachableError says that a node answered at none of its addresses.
type UnreachableError struct {
	Node string
	Err  error // of each address
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("reach %s: %v", e.Node, e.Err) }

// Unwrap gives what went wrong.
func (e *UnreachableError) Unwrap() error { return e.Err }

// ErrUnpaired says that the other side does not accept this node's key.
var ErrUnpaired = errors.New("it does not accept this node's key: it was paired with another one, or not at all")
