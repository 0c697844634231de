package cli

import (
	"errors"
	"fmt"
)

// The exit codes; kvmctl(8) has the same table.
const (
	ExitDone    = 0 // done, or already so
	ExitFailed  = 1
	ExitUsage   = 2 // usage or bad configuration
	ExitRefused = 3 // refused for safety
	ExitUnclean = 4 // done but not cleanly: killed after the timeout
	ExitInVain  = 5 // waited in vain
)

// ExitCodes is the one table of the exit codes, for the help and the manual.
var ExitCodes = []struct {
	Code    int
	Meaning string
}{
	{ExitDone, "Done, or already so."},
	{ExitFailed, "Failed."},
	{ExitUsage, "Wrong usage or bad configuration: nothing was done."},
	{ExitRefused, "Refused for safety; the error says what would have been harmed."},
	{ExitUnclean, "Done, but not cleanly: a guest was killed after its time."},
	{ExitInVain, "Waited in vain."},
	{125, "kvmctl exec only: kvmctl itself failed; any other code is the command's own."},
}

// coded is an error with its own exit code.
type coded struct {
	error
	code int
	hint string
}

func (c *coded) Unwrap() error { return c.error }
func (c *coded) Hint() string  { return c.hint }

// Usage is an error in how the command was called; hint says how to call it.
func Usage(hint, format string, args ...any) error {
	return &coded{fmt.Errorf(format, args...), ExitUsage, hint}
}

// Failed is an error with a hint.
func Failed(hint, format string, args ...any) error {
	return &coded{fmt.Errorf(format, args...), ExitFailed, hint}
}

// Refused is an act that we decline because it could do harm.
func Refused(hint, format string, args ...any) error {
	return &coded{fmt.Errorf(format, args...), ExitRefused, hint}
}

// InVain is a wait that ended without what it waited for.
func InVain(hint, format string, args ...any) error {
	return &coded{fmt.Errorf(format, args...), ExitInVain, hint}
}

// Unclean is an act that was done by force.
func Unclean(format string, args ...any) error {
	return &coded{fmt.Errorf(format, args...), ExitUnclean, ""}
}

// WithCode gives err another exit code.
func WithCode(err error, code int) error { return &coded{err, code, Hint(err)} }

// QuietError sets the exit code and prints nothing: what there is to say was said.
type QuietError struct{ ExitCode int }

func (q *QuietError) Error() string { return fmt.Sprintf("exit %d", q.ExitCode) }

// Hint gives the hint of an error, or of the first one that it wraps which has one.
func Hint(err error) string {
	for err != nil {
		if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
			return h.Hint()
		}
		switch x := err.(type) {
		case interface{ Unwrap() error }:
			err = x.Unwrap()
		case interface{ Unwrap() []error }:
			for _, one := range x.Unwrap() {
				if h := Hint(one); h != "" {
					return h
				}
			}
			return ""
		default:
			return ""
		}
	}
	return ""
}

// Code gives the exit code of an error. Of several the one that says most wins: a plain failure before "not cleanly" and "in vain",
// bad configuration and refusals only if nothing else went wrong.
func Code(err error) int {
	if err == nil {
		return ExitDone
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		worst := ExitDone
		for _, one := range j.Unwrap() {
			if c := Code(one); worst == ExitDone || rank(c) < rank(worst) {
				worst = c
			}
		}
		return worst
	}
	var c *coded
	if errors.As(err, &c) {
		return c.code
	}
	var q *QuietError
	if errors.As(err, &q) {
		return q.ExitCode
	}
	var refused interface{ Refused() bool }
	if errors.As(err, &refused) && refused.Refused() {
		return ExitRefused
	}
	var bad interface{ BadConfig() bool }
	if errors.As(err, &bad) && bad.BadConfig() {
		return ExitUsage
	}
	return ExitFailed
}

func rank(code int) int {
	switch code {
	case ExitFailed:
		return 0
	case ExitRefused:
		return 1
	case ExitUsage:
		return 2
	case ExitInVain:
		return 3
	case ExitUnclean:
		return 4
	}
	return 0
}
