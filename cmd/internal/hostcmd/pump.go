package hostcmd

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Bounds of a pump.
const (
	pumpMost = 4 << 20         // bytes that wait for the terminal
	pumpEnd  = 2 * time.Second // a terminal that takes nothing for so long is not waited for at the end
)

// pump writes to a terminal or a pipe that may take nothing for as long as it likes, and keeps nobody waiting meanwhile: QEMU stops a guest's
// serial port, and what in the guest writes to it, as soon as some hundred bytes are not read (hw/char/serial.c, serial_xmit). What does
// not fit is left out and counted; the guest's log has it.
type pump struct {
	w    io.Writer
	most int

	mu    sync.Mutex
	wait  []byte
	lost  int   // bytes since what waits
	err   error // of w
	ended bool
	taken int // bytes by w
	more  chan struct{}
	done  chan struct{} // closed when the writer has ended
}

func newPump(w io.Writer) *pump {
	p := &pump{w: w, most: pumpMost, more: make(chan struct{}, 1), done: make(chan struct{})}
	go p.run() // owner: close
	return p
}

// Write takes everything, and waits for nobody. An error is that of an earlier write.
func (p *pump) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	if p.lost > 0 || len(p.wait)+len(b) > p.most { // in order: nothing behind a gap before the gap is told
		p.lost += len(b)
	} else {
		p.wait = append(p.wait, b...)
	}
	p.wake()
	return len(b), nil
}

func (p *pump) wake() {
	select {
	case p.more <- struct{}{}:
	default:
	}
}

func (p *pump) run() {
	defer close(p.done)
	for range p.more {
		for {
			b, ended := p.next()
			if len(b) == 0 {
				if ended {
					return
				}
				break
			}
			n, err := p.w.Write(b)
			p.mu.Lock()
			p.taken += n
			p.err = err
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}
}

// pumpChunk is how much is written at once, in bytes, so that it shows when a slow terminal takes something.
const pumpChunk = 4 << 10

// next gives what is to be written now.
func (p *pump) next() (b []byte, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wait) == 0 && p.lost > 0 {
		p.wait = fmt.Appendf(nil, "\r\n[kvmctl: %d bytes left out, which nobody read: kvmctl console --replay has them]\r\n", p.lost)
		p.lost = 0
	}
	n := min(len(p.wait), pumpChunk)
	b = p.wait[:n:n]
	if p.wait = p.wait[n:]; len(p.wait) == 0 {
		p.wait = nil // appending to what is left would keep all that went
	}
	return b, p.ended
}

// close waits until everything is written, or, once ctx has ended, until nothing is taken for a while.
func (p *pump) close(ctx context.Context) error {
	p.mu.Lock()
	p.ended = true
	taken := p.taken
	p.mu.Unlock()
	p.wake()
	select {
	case <-p.done:
		return p.err // its writer is gone
	case <-ctx.Done():
	}
	for {
		select {
		case <-p.done:
			return p.err
		case <-time.After(pumpEnd):
		}
		p.mu.Lock()
		stuck := p.taken == taken
		taken = p.taken
		if stuck {
			p.wait, p.lost = nil, 0
		}
		p.mu.Unlock()
		if stuck {
			return nil // its writer is in the kernel, and ends with this process
		}
	}
}
