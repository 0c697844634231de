package fence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"kvmctl/internal/child"
	"kvmctl/internal/runner"
)

// Agent is a program of fence-agents, such as fence_ipmilan or fence_apc, with the parameters that name the device and its target.
// FenceAgentAPI.md of ClusterLabs/fence-agents has the protocol: parameters by standard input, a line each, and an exit status.
type Agent struct {
	program string
	input   []byte // its parameters, with the password
	secret  string
	run     runner.Runner
}

// maxParameter bounds a parameter, and the password, in bytes.
const maxParameter = 4096

// Errors of NewAgent.
var (
	ErrNoProgram = errors.New("the agent is not named by an absolute path")
	ErrParameter = errors.New("it is not name=value in one line, or is not the file's to set")
)

// NewAgent makes an Agent of a program and its parameters, name=value each. A password, if there is any, goes by standard input like all
// parameters: it is in no command line and in no error.
func NewAgent(program string, parameters []string, password string, run runner.Runner) (*Agent, error) {
	if !filepath.IsAbs(program) {
		return nil, fmt.Errorf("fence agent %q: %w", program, ErrNoProgram)
	}
	a := &Agent{program: program, secret: password, run: run}
	for _, p := range parameters {
		name, value, ok := strings.Cut(p, "=")
		if !ok || !validParameter(name, value) || name == "password" || name == "passwd" {
			return nil, fmt.Errorf("fence agent %s: parameter %q: %w", program, child.Printable(name), ErrParameter)
		}
		a.input = append(a.input, name+"="+quoted(value)+"\n"...)
	}
	if password != "" {
		if !validParameter("password", password) {
			return nil, fmt.Errorf("fence agent %s: password: %w", program, ErrParameter)
		}
		a.input = append(a.input, "password="+quoted(password)+"\n"...)
	}
	return a, nil
}

// validParameter keeps a value from becoming a second parameter, and what an agent does from being anything but off and status.
func validParameter(name, value string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	if name == "" || strings.Trim(name, letters) != "" || len(name)+len(value) > maxParameter {
		return false
	}
	return name != "action" && name != "option" && name != "o" && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u0085' || r == '\u2028' || r == '\u2029' })
}

// quoted keeps what the agents' library would strip: spaces at the ends, and one pair of quotes.
func quoted(value string) string {
	if strings.TrimSpace(value) != value || len(value) > 1 && strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`) {
		return `"` + value + `"`
	}
	return value
}

// String names the program, and nothing else that an Agent has.
func (a *Agent) String() string { return filepath.Base(a.program) }

// GoString is String: a password is not for %#v either.
func (a *Agent) GoString() string { return a.String() }

// Power is what an agent says of its target.
type Power string

// The states.
const (
	On  Power = "on"
	Off Power = "off"
)

// Exit statuses of an agent that was asked for the status. 2 is also that of wrong arguments, so it needs the word beside it.
const (
	exitOn  = 0
	exitOff = 2
)

// Errors of an Agent.
var (
	ErrStillOn     = errors.New("the agent said that it switched the node off, and then that it is on")
	ErrNoStatus    = errors.New("the agent gave no status")
	ErrNoParameter = errors.New("the agent ignored a parameter that it does not know")
)

// Fence is Fencer's: off, and then the agent has to say that it is off.
func (a *Agent) Fence(ctx context.Context, r Request) (Receipt, error) {
	res, err := a.act(ctx, "off")
	if err == nil && res.Exit != 0 {
		err = a.ended("off", res)
	}
	if err != nil {
		return Receipt{}, &NotCertainError{r.Node, err}
	}
	switch power, err := a.Status(ctx); {
	case err != nil:
		return Receipt{}, &NotCertainError{r.Node, err}
	case power != Off:
		return Receipt{}, &NotCertainError{r.Node, fmt.Errorf("%v: %w", a, ErrStillOn)}
	}
	return receipt(r, "%v switched it off", a), nil
}

// Status asks for the target's power, and changes nothing.
func (a *Agent) Status(ctx context.Context) (Power, error) {
	res, err := a.act(ctx, "status")
	if err != nil {
		return "", err
	}
	switch said := saidStatus(res.Stdout); {
	case res.Exit == exitOff && said == Off:
		return Off, nil
	case res.Exit == exitOn && said != Off:
		return On, nil
	case res.Exit == exitOn || res.Exit == exitOff:
		return "", fmt.Errorf("%v: exit %d beside status %q: %w", a, res.Exit, said, ErrNoStatus)
	}
	return "", a.ended("status", res)
}

// saidStatus finds the line that the agents' library prints.
func saidStatus(stdout []byte) Power {
	for line := range bytes.Lines(stdout) {
		if word, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(string(line))), "status: "); ok {
			return Power(child.Printable(word))
		}
	}
	return ""
}

// act runs the agent once.
func (a *Agent) act(ctx context.Context, action string) (runner.Result, error) {
	input := append([]byte("action="+action+"\n"), a.input...)
	res, err := a.run.Run(ctx, runner.Command{Argv: []string{a.program}, Stdin: input})
	if err != nil {
		return runner.Result{}, fmt.Errorf("%v: %s: %w", a, action, err)
	}
	// Python's agents go on without what they do not know: with a misspelt name of the target they act on a default one, or on none.
	if bytes.Contains(res.Stderr, []byte("Ignoring unknown option")) {
		return runner.Result{}, fmt.Errorf("%v: %s: %w: %s", a, action, ErrNoParameter, a.reason(res))
	}
	return res, nil
}

// ended is an agent that failed.
func (a *Agent) ended(action string, res runner.Result) error {
	return fmt.Errorf("%v: %s: %w", a, action, &child.ExitError{Exit: res.Exit, Signal: res.Signal, Reason: a.reason(res)})
}

// reason is the last line that says anything, without the password: an agent may repeat what it was given.
func (a *Agent) reason(res runner.Result) string {
	said := string(res.Stderr)
	if a.secret != "" {
		said = strings.ReplaceAll(said, a.secret, "…")
	}
	return child.Result{Output: []byte(said)}.Reason()
}
