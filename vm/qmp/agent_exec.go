package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Limits of qemu-ga's guest-exec (qga/commands.c and qobject/json-streamer.c of QEMU 7.2).
const (
	// MaxExecOutput is how much of each stream the agent keeps, in bytes; the rest is dropped and reported as cut.
	MaxExecOutput = 16 << 20
	// MaxExecInput is how much we send as a command's input, in bytes: in base64 it fits into a token of the agent's parser, which
	// takes 64 MiB, and the agent holds several copies of it.
	MaxExecInput = 16 << 20
	// ExecMaxLine bounds the answer that carries both streams in base64: the option MaxLine for a connection that asks for it.
	ExecMaxLine = 2*(MaxExecOutput+2)/3*4 + 4096
)

// GuestCommand is a program to run in the guest.
type GuestCommand struct {
	Path  string // found by the guest's PATH when it has no slash
	Args  []string
	Input []byte // nil: no input, the command reads the end at once
}

// ErrInputTooLong says that a command's input is longer than MaxExecInput.
var ErrInputTooLong = errors.New("the input is longer than 16M, which is all that the guest agent is given")

// Exec starts a program in the guest and gives the pid by which its ExecStatus is asked (guest-exec). The agent runs one command
// line of a program, no shell.
func (a *Agent) Exec(ctx context.Context, c GuestCommand) (pid int64, err error) {
	if len(c.Input) > MaxExecInput {
		return 0, ErrInputTooLong
	}
	args := struct {
		Path    string   `json:"path"`
		Arg     []string `json:"arg,omitempty"`
		Input   []byte   `json:"input-data,omitempty"` // encoding/json makes base64 of it
		Capture bool     `json:"capture-output"`
	}{c.Path, c.Args, c.Input, true}
	var answer struct {
		PID *int64 `json:"pid"`
	}
	if err := a.Execute(ctx, "guest-exec", args, &answer); err != nil {
		return 0, err
	}
	if answer.PID == nil || *answer.PID <= 0 {
		return 0, errors.New("run \"guest-exec\" in the guest: the answer names no process")
	}
	return *answer.PID, nil
}

// ExecStatus is what became of a program in the guest.
type ExecStatus struct {
	Exited       bool
	Code         int64 // when it exited by itself; on Windows any 32 bits
	Signal       int64 // that ended it; 0: it exited by itself
	Out, Err     []byte
	OutTruncated bool // the agent dropped what came after MaxExecOutput
	ErrTruncated bool
}

// ExecStatus asks once what became of a program that Exec started; the agent forgets one that ended when it has told so. Give the
// connection the option MaxLine(ExecMaxLine).
func (a *Agent) ExecStatus(ctx context.Context, pid int64) (ExecStatus, error) {
	var raw json.RawMessage
	args := struct {
		PID int64 `json:"pid"`
	}{pid}
	if err := a.Execute(ctx, "guest-exec-status", args, &raw); err != nil {
		return ExecStatus{}, err
	}
	s, err := parseExecStatus(raw)
	if err != nil {
		return ExecStatus{}, fmt.Errorf("run \"guest-exec-status\" in the guest: %w", err)
	}
	return s, nil
}

// execStatus is GuestExecStatus of qga/qapi-schema.json.
type execStatus struct {
	Exited       *bool  `json:"exited"`
	Code         int64  `json:"exitcode"`
	Signal       int64  `json:"signal"`
	Out          []byte `json:"out-data"`
	Err          []byte `json:"err-data"`
	OutTruncated bool   `json:"out-truncated"`
	ErrTruncated bool   `json:"err-truncated"`
}

// parseExecStatus reads what an agent says of a program.
func parseExecStatus(raw []byte) (ExecStatus, error) {
	var in execStatus
	if err := json.Unmarshal(raw, &in); err != nil {
		return ExecStatus{}, fmt.Errorf("decode the answer: %w", err)
	}
	if in.Exited == nil {
		return ExecStatus{}, errors.New("the answer does not say whether it exited")
	}
	return ExecStatus{*in.Exited, in.Code, in.Signal, in.Out, in.Err, in.OutTruncated, in.ErrTruncated}, nil
}
