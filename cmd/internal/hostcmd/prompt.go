package hostcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/term"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm/qmp"
)

// maxLine bounds a line of input, in bytes.
const maxLine = 1 << 20

// prompt reads lines: on a terminal with editing and history, elsewhere as they come. It may be written to meanwhile.
type prompt struct {
	io.Writer
	next  func() (string, error) // io.EOF: the person leaves
	term  *term.Terminal         // nil without a terminal
	close func()
}

// openPrompt reads until ctx ends.
func openPrompt(ctx context.Context, env *cli.Env, prefix string) (*prompt, error) {
	in, stop, err := newKeys(ctx, env)
	if err != nil {
		return nil, err
	}
	fd, inTTY := env.InTerminal()
	outFD, outTTY := env.OutTerminal()
	if !inTTY || !outTTY {
		s := bufio.NewScanner(in)
		s.Buffer(make([]byte, 0, 4<<10), maxLine)
		next := func() (string, error) {
			if s.Scan() {
				return s.Text(), nil
			}
			if err := s.Err(); err != nil {
				return "", err
			}
			return "", io.EOF
		}
		return &prompt{Writer: &lockedWriter{w: env.Out}, next: next, close: stop}, nil
	}
	restore, err := rawTerminal(fd)
	if err != nil {
		stop()
		return nil, err
	}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, env.Out}, prefix)
	next := func() (string, error) {
		if w, h, err := term.GetSize(outFD); err == nil && w > 0 && h > 0 {
			_ = t.SetSize(w, h) // its error is that of drawing, which the next line meets, too
		}
		line, err := t.ReadLine()
		if errors.Is(err, term.ErrPasteIndicator) {
			err = nil
		}
		return line, err
	}
	return &prompt{Writer: t, next: next, term: t, close: func() { restore(); stop() }}, nil
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// talk runs line after line until the person leaves, the guest ends, or ctx does.
func (a *app) talk(ctx context.Context, g *seen, c *qmp.Client, prefix string, begin func(*prompt), line func(*prompt, string) (leave bool)) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-c.Done(): // the guest ended: nobody waits for another key
			cancel()
		case <-inner.Done():
		}
	})
	defer wg.Wait()
	defer cancel()
	p, err := openPrompt(inner, a.env, prefix)
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", useMonitor, g.Name, err)
	}
	closed := false
	defer func() {
		if !closed {
			p.close()
		}
	}()
	if begin != nil {
		begin(p)
	}
	for {
		var s string
		if s, err = p.next(); err != nil || line(p, s) {
			break
		}
	}
	closed = true
	p.close()
	if p.term != nil && err != nil {
		io.WriteString(a.env.Out, "\n") // the cursor stands behind the prompt
	}
	select {
	case <-c.Done():
		a.sayLast(g)
		return nil
	default:
	}
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		return fmt.Errorf("cannot read a command for %s: %w", g.Name, err)
	}
	if p.term != nil && takenBy(ctx) == nil {
		a.env.Talk("left the monitor; %s runs on. To end the guest: kvmctl stop %s", g.Name, g.Name)
	}
	return nil
}

// talkHMP is a visit to the human monitor.
func (a *app) talkHMP(ctx context.Context, g *seen, c *qmp.Client) error {
	failed := false
	begin := func(p *prompt) {
		if p.term == nil {
			return
		}
		words := hmpCommands(ctx, c)
		p.term.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
			if key != '\t' {
				return "", 0, false
			}
			newLine, newPos, choice := words.complete(line, pos)
			if len(choice) > 1 {
				fmt.Fprintf(p, "%s\n", columns(choice))
			}
			return newLine, newPos, true
		}
		fmt.Fprintf(p, "QEMU %s; help lists its commands. exit, quit or ^D leave, and %s runs on.\n", c.Greeting().Version(), g.Name)
	}
	err := a.talk(ctx, g, c, "("+g.Name+") ", begin, func(p *prompt, line string) bool {
		if leaves(line) {
			return true
		}
		out, err := c.HMP(ctx, line)
		if err != nil {
			failed = true
			fmt.Fprintf(p, "kvmctl: %v\n", err)
			return errors.Is(err, qmp.ErrClosed)
		}
		failed = failed || hmpError(out) != ""
		io.WriteString(p, text(out, p.term != nil))
		return false
	})
	return scripted(a, err, failed)
}

// talkQMP is a visit with QMP: answers and events as they come.
func (a *app) talkQMP(ctx context.Context, g *seen, c *qmp.Client) error {
	failed := false
	var events sync.WaitGroup
	defer events.Wait()
	defer c.Close() // ends the events
	begin := func(p *prompt) {
		events.Go(func() {
			for e := range c.Events() {
				fmt.Fprintf(p, "%s\n", eventLine(e))
			}
		})
	}
	err := a.talk(ctx, g, c, "("+g.Name+") ", begin, func(p *prompt, line string) bool {
		if len(line) == 0 {
			return false
		}
		answer, refused := answerQMP(c, []byte(line))
		failed = failed || refused
		fmt.Fprintf(p, "%s\n", answer)
		return false
	})
	return scripted(a, err, failed)
}

// scripted gives the exit code: a person saw what went wrong, a script needs to be told.
func scripted(a *app, err error, failed bool) error {
	if _, tty := a.env.InTerminal(); err == nil && failed && !tty {
		return &cli.QuietError{ExitCode: cli.ExitFailed}
	}
	return err
}
