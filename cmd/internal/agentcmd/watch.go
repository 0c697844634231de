package agentcmd

import (
	"context"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"kvmctl/cmd/internal/cli"
)

// watchEvery is the time between two tables of status --watch.
const watchEvery = time.Second

// runWatch shows the table again each second, until a signal, q or ^C. An agent that is away for a while (an upgrade, a crash) is part of what
// there is to see; one that was never there is an error.
func (a *app) runWatch(ctx context.Context, o statusOptions) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	_, drawn := a.env.OutTerminal()
	if fd, ok := a.env.InTerminal(); ok && drawn {
		old, err := term.MakeRaw(fd)
		if err == nil {
			defer func() { _ = term.Restore(fd, old) }() // if the terminal is gone, so is its state
			go quitKey(a.env.In, stop)                   // a read of a terminal cannot be interrupted: it ends with the process
		}
	}
	for first := true; ; first = false {
		page, err := a.look(ctx, o)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (first || cli.Code(err) == cli.ExitUsage):
			return err
		case err != nil:
			page = "kvmha: " + cli.Printable(err.Error()) + "\n"
		}
		if drawn {
			page = repaint(fit(page, a.env), first)
		}
		if _, err := io.WriteString(a.env.Out, page); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// look asks for one table.
func (a *app) look(ctx context.Context, o statusOptions) (string, error) {
	status, err := a.askStatus(ctx, o)
	if err != nil {
		return "", err
	}
	return a.page(status, o.groups)
}

// quitKey ends the watch at q, ^C, ^D or the end of the input.
func quitKey(in io.Reader, stop func()) {
	defer stop()
	for b := make([]byte, 1); ; {
		if n, err := in.Read(b); err != nil || n == 1 && strings.IndexByte("qQ\x03\x04", b[0]) >= 0 {
			return
		}
	}
}

// repaint writes a page over the one before. Only the first one clears the screen, which would flicker: home, each line and the rest of it,
// then the rest of the screen (ECMA-48: CUP, EL, ED). The carriage returns are for a raw terminal.
func repaint(page string, first bool) string {
	begin := "\x1b[H"
	if first {
		begin += "\x1b[2J"
	}
	return begin + strings.ReplaceAll(page, "\n", "\x1b[K\r\n") + "\x1b[J"
}

// fit leaves out the lines that the terminal, as large as it is now, has no room for: it would scroll.
func fit(page string, env *cli.Env) string {
	fd, _ := env.OutTerminal()
	width, height, err := term.GetSize(fd)
	if err != nil || width < 1 || height < 2 {
		return page
	}
	return clip(page, width, height)
}

func clip(page string, width, height int) string {
	var out strings.Builder
	for line := range strings.Lines(page) {
		height -= max(0, utf8.RuneCountInString(line)-2)/width + 1
		if height < 1 { // the last row is the cursor's
			break
		}
		out.WriteString(line)
	}
	return out.String()
}
