package hostcmd

import (
	"fmt"
	"strings"
	"sync"

	"kvmctl/internal/runner"
	"kvmctl/internal/units"
	"kvmctl/vm/image"
)

func imageTool() image.Tool { return image.Tool{QemuImg: "qemu-img", Runner: runner.Exec{}} }

// progress draws long work on a terminal, on one line that it erases at the end. Elsewhere it is silent.
type progress struct {
	a    *app
	what string
	on   bool
	mu   sync.Mutex
	last int
}

func (a *app) progress(what string) *progress {
	_, tty := a.env.ErrTerminal()
	return &progress{a: a, what: what, on: tty, last: -1}
}

func (p *progress) set(done, total units.Size) {
	if !p.on || total <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	percent := int(100 * float64(done) / float64(total))
	if percent == p.last {
		return
	}
	p.last = percent
	const width = 30
	full := min(width, max(0, percent*width/100))
	fmt.Fprintf(p.a.env.Err, "\r%s [%s%s] %3d%%", p.what, strings.Repeat("=", full), strings.Repeat(" ", width-full), percent)
}

func (p *progress) end() {
	if p.on && p.last >= 0 {
		fmt.Fprintf(p.a.env.Err, "\r\033[K")
	}
}
