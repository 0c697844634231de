package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Env is the process as a command sees it. Nothing below cmd touches os.Args, os.Stdout or the environment.
type Env struct {
	Prog string // "kvmctl": begins each line of talk
	Args []string
	In   io.Reader
	Out  io.Writer // data
	Err  io.Writer // talk
	Get  func(string) string

	Where     string            // flags that hints repeat, as a shell reads them: "--root /srv/demo"; empty: none
	IsCommand func(string) bool // of Prog; nil: none is
	Step      func(name string) // hears of each finished step of a command that has several; nil: nobody
}

// OSEnv is the real process.
func OSEnv(prog string) *Env {
	return &Env{Prog: prog, Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Get: os.Getenv}
}

// Talk writes a line for people to stderr.
func (e *Env) Talk(format string, args ...any) {
	fmt.Fprintf(e.Err, "%s: %s\n", e.Prog, e.Offers(fmt.Sprintf(format, args...)))
}

// Offers is Again for a sentence: only the commands behind a colon or in backquotes are meant to be typed.
func (e *Env) Offers(text string) string { return e.again(text, afterColon) }

// Print writes data to stdout.
func (e *Env) Print(format string, args ...any) { fmt.Fprintf(e.Out, format, args...) }

// JSON writes v to stdout, indented, with a final newline.
func (e *Env) JSON(v any) error {
	enc := json.NewEncoder(e.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// InTerminal gives stdin's descriptor if it is a terminal.
func (e *Env) InTerminal() (int, bool) { return terminal(e.In) }

// ErrTerminal gives stderr's descriptor if it is a terminal: only there is progress drawn.
func (e *Env) ErrTerminal() (int, bool) { return terminal(e.Err) }

// OutTerminal gives stdout's descriptor if it is a terminal.
func (e *Env) OutTerminal() (int, bool) { return terminal(e.Out) }

func terminal(x any) (int, bool) {
	f, ok := x.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// Report writes an error the way every error of ours looks, its hints below it, and gives the exit code.
func (e *Env) Report(err error) int {
	if err == nil {
		return ExitDone
	}
	for _, one := range flatten(err) {
		var quiet *QuietError
		if !errors.As(one, &quiet) {
			text := one.Error()
			if errors.Is(one, context.Canceled) { // nobody types a context
				text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
			}
			fmt.Fprintf(e.Err, "%s: error: %s\n", e.Prog, text)
			for h := range strings.Lines(Hint(one)) {
				fmt.Fprintf(e.Err, "%s: hint: %s\n", e.Prog, e.Again(strings.TrimSuffix(h, "\n")))
			}
		}
	}
	return Code(err)
}

// flatten takes joined errors apart, so that each has a line of its own.
func flatten(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		if _, wrapped := err.(interface{ Hint() string }); !wrapped {
			var all []error
			for _, one := range j.Unwrap() {
				all = append(all, flatten(one)...)
			}
			return all
		}
	}
	return []error{err}
}
