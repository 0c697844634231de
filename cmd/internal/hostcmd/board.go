package hostcmd

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"kvmctl/vm"
)

// board stands in for stderr while guests start. On a terminal it keeps a picture of who waits for whom below what is said, and draws it
// anew each second; elsewhere it only keeps the lines of several goroutines apart, and says once who is waited for.
type board struct {
	a     *app
	w     io.Writer // stderr
	tty   bool
	signs map[string]string // by which each is ready

	mu    sync.Mutex
	view  []vm.JobView
	told  map[string]bool
	drawn int // lines of the picture on the screen
	width int

	stop, stopped chan struct{}
}

// newBoard puts a board in the place of stderr until its close.
func (a *app) newBoard(p *vm.StartPlan) *board {
	b := &board{a: a, w: a.env.Err, signs: map[string]string{}, told: map[string]bool{}, width: 80, stop: make(chan struct{}), stopped: make(chan struct{})}
	for _, specs := range [][]*vm.Spec{p.Outside, p.Specs} {
		for _, s := range specs {
			b.signs[s.Name] = s.Ready.String()
		}
	}
	if fd, ok := a.env.ErrTerminal(); ok {
		b.tty = true
		if width, _, err := term.GetSize(fd); err == nil && width > 0 {
			b.width = width
		}
	}
	a.env.Err = b
	go b.run() // owner: close, which waits for it
	return b
}

func (b *board) run() {
	defer close(b.stopped)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
			b.change(func() {})
		}
	}
}

func (b *board) close() {
	close(b.stop)
	<-b.stopped
	b.change(func() { b.view = nil })
	b.a.env.Err = b.w
}

// Write says something above the picture.
func (b *board) Write(p []byte) (n int, err error) {
	b.change(func() { n, err = b.w.Write(p) })
	return n, err
}

// show is told how far all are.
func (b *board) show(view []vm.JobView) {
	b.change(func() {
		b.view = view
		if b.tty {
			return
		}
		for _, v := range view {
			if v.Phase == vm.PhaseSettles && !b.told[v.Name] {
				b.told[v.Name] = true
				fmt.Fprintf(b.w, "%s: waiting until %s is ready: %s, at most %v\n", b.a.env.Prog, v.Name, b.signs[v.Name], v.Until.Sub(v.Since))
			}
		}
	})
}

// change takes the picture away, does something, and draws it anew.
func (b *board) change(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn > 0 {
		fmt.Fprintf(b.w, "\r\033[%dA\033[J", b.drawn)
	}
	b.drawn = 0
	do()
	if b.tty {
		lines := boardLines(time.Now(), b.view, b.signs, b.width)
		for _, l := range lines {
			fmt.Fprintln(b.w, l)
		}
		b.drawn = len(lines)
	}
}

// boardMost bounds the height of the picture, in lines.
const boardMost = 16

// boardLines draws who waits for whom, as a tree: what a guest waits for stands above it. Nothing is drawn as long as nobody waits
// for readiness or a delay, which is the only waiting that a person notices.
func boardLines(now time.Time, view []vm.JobView, signs map[string]string, width int) []string {
	children := map[string][]vm.JobView{}
	var roots []vm.JobView
	worth := false
	for _, v := range view {
		switch {
		case v.Phase >= vm.PhaseDone:
		case v.Phase == vm.PhaseWaits && v.Held != "":
			children[v.Held] = append(children[v.Held], v)
		default:
			roots = append(roots, v)
			worth = worth || v.Phase == vm.PhaseSettles || v.Phase == vm.PhaseDelayed
		}
	}
	if !worth {
		return nil
	}
	var lines []string
	var draw func(v vm.JobView, first, rest string)
	draw = func(v vm.JobView, first, rest string) {
		lines = append(lines, cut(first+v.Name+" "+phaseWords(now, v, signs[v.Name]), width-1))
		below := children[v.Name]
		for i, c := range below {
			if i == len(below)-1 {
				draw(c, rest+"`- ", rest+"   ")
			} else {
				draw(c, rest+"|- ", rest+"|  ")
			}
		}
	}
	for _, v := range roots {
		draw(v, "  ", "  ")
	}
	if more := len(lines) - boardMost; more > 0 {
		lines = append(lines[:boardMost], fmt.Sprintf("  … and %d more", more))
	}
	return lines
}

// phaseWords says what a guest does at the moment.
func phaseWords(now time.Time, v vm.JobView, sign string) string {
	switch v.Phase {
	case vm.PhaseWaits:
		return "waits"
	case vm.PhaseDelayed:
		return fmt.Sprintf("starts in %v", max(0, v.Until.Sub(now)).Round(time.Second))
	case vm.PhaseQueued:
		return "waits for its turn"
	case vm.PhaseActs:
		return "starts"
	}
	return fmt.Sprintf("runs, and is not ready yet: %s (%v of %v)", sign, now.Sub(v.Since).Round(time.Second), v.Until.Sub(v.Since).Round(time.Second))
}

// cut shortens a line to so many letters: one that wrapped could not be taken back.
func cut(line string, width int) string {
	line = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, line)
	if r := []rune(line); len(r) > width && width > 0 {
		return string(r[:width])
	}
	return line
}
