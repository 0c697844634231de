package fence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"kvmctl/internal/child"
	"kvmctl/internal/runner"
)

// Host is a peer that is a guest of this very host: kvmctl kills it, and keeps it down.
type Host struct {
	Program string // kvmctl; a name is looked up in PATH
	VM      string // as kvmctl calls the guest
	For     string // this node
	Run     runner.Runner
}

// Bounds of `kvmctl fence --within`, and of the time that is left to it to answer when it could not.
const (
	maxWithin = time.Minute
	answering = 200 * time.Millisecond
	atLeast   = 10 * time.Millisecond
)

// maxReceipt bounds kvmctl's answer, in bytes.
const maxReceipt = 4096

// Errors of a Host.
var (
	ErrBadReceipt = errors.New("the answer is no receipt of kvmctl fence")
	ErrNotHeld    = errors.New("the guest is not held: it may start again")
)

// Fence is Fencer's.
func (h *Host) Fence(ctx context.Context, r Request) (Receipt, error) {
	within := max(min(r.Within-answering, maxWithin), atLeast)
	res, err := h.Run.Run(ctx, runner.Command{Argv: []string{
		h.Program, "fence", h.VM, "--for", h.For, "--request", r.ID.String(), "--within", within.String(), "--json",
	}})
	if err == nil && res.Exit != 0 {
		reason := child.Result{Output: res.Stderr}.Reason()
		err = fmt.Errorf("kvmctl fence %s: %w", h.VM, &child.ExitError{Exit: res.Exit, Signal: res.Signal, Reason: reason})
	}
	if err != nil {
		return Receipt{}, &NotCertainError{r.Node, err}
	}
	answer, err := parseReceipt(res.Stdout)
	switch {
	case err != nil:
	case answer.Request != r.ID.String() || answer.VM != h.VM || answer.For != h.For:
		err = ErrAnotherAnswer
	case !answer.Held:
		err = ErrNotHeld
	}
	if err != nil {
		return Receipt{}, &NotCertainError{r.Node, fmt.Errorf("kvmctl fence %s: %w", h.VM, err)}
	}
	return receipt(r, "its host holds it: %s", answer.State), nil
}

// The states in which a guest can do nothing any more.
const (
	killed     = "killed"
	wasStopped = "was-stopped"
)

// hostReceipt is what `kvmctl fence --json` prints. A later kvmctl may say more.
type hostReceipt struct {
	Request string `json:"request"`
	VM      string `json:"vm"`
	State   string `json:"state"`
	Held    bool   `json:"held"`
	For     string `json:"for"`
}

// parseReceipt reads one, and nothing after it.
func parseReceipt(text []byte) (hostReceipt, error) {
	if len(text) > maxReceipt {
		return hostReceipt{}, ErrBadReceipt
	}
	d := json.NewDecoder(bytes.NewReader(text))
	var r hostReceipt
	if d.Decode(&r) != nil {
		return hostReceipt{}, ErrBadReceipt
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return hostReceipt{}, ErrBadReceipt
	}
	if r.Request == "" || r.VM == "" || r.State != killed && r.State != wasStopped {
		return hostReceipt{}, ErrBadReceipt
	}
	return r, nil
}
