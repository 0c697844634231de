package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/creack/pty"
)

// terminal is a kvmctl that was started on a terminal of its own, with somebody who types and reads.
type terminal struct {
	cmd  *exec.Cmd
	tty  *os.File
	seen chan []byte // closed when kvmctl has let go of the terminal
	text string
}

// terminal starts kvmctl on a pseudo-terminal and shows what appears there.
func (d *demo) terminal(ctx context.Context, args ...string) (*terminal, error) {
	fmt.Printf("$ kvmctl %s\n", quote(args))
	cmd := exec.CommandContext(ctx, d.bin, append([]string{"--root", d.root}, args...)...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	if err != nil {
		return nil, err
	}
	t := &terminal{cmd: cmd, tty: tty, seen: make(chan []byte)}
	go t.read()
	return t, nil
}

// read ends with an error of the terminal: EIO when kvmctl has ended.
func (t *terminal) read() {
	defer close(t.seen)
	for {
		buf := make([]byte, 4096)
		n, err := t.tty.Read(buf)
		if n > 0 {
			os.Stdout.Write(buf[:n])
			t.seen <- buf[:n]
		}
		if err != nil {
			return
		}
	}
}

func (t *terminal) close() {
	_ = t.cmd.Process.Kill()
	for range t.seen { // until the reader is done
	}
	_ = t.cmd.Wait()
	t.tty.Close()
	fmt.Println()
}

// step is one thing that the person at the terminal does.
type step func(*terminal) error

func (t *terminal) script(steps ...step) error {
	for _, s := range steps {
		if err := s(t); err != nil {
			return err
		}
	}
	return nil
}

const patience = 30 * time.Second

// expect waits for a text behind what was expected before.
func expect(text string) step {
	return func(t *terminal) error {
		late := time.After(patience)
		for {
			if i := strings.Index(t.text, text); i >= 0 {
				t.text = t.text[i+len(text):]
				return nil
			}
			select {
			case b, ok := <-t.seen:
				if !ok {
					return fmt.Errorf("the terminal closed before %q came", text)
				}
				t.text += string(b)
			case <-late:
				return fmt.Errorf("%q did not come within %v", text, patience)
			}
		}
	}
}

func send(keys string) step {
	return func(t *terminal) error {
		_, err := t.tty.WriteString(keys)
		return err
	}
}

// ends waits for kvmctl to leave by itself.
func ends() step {
	return func(t *terminal) error {
		late := time.After(patience)
		for {
			select {
			case _, ok := <-t.seen:
				if !ok {
					return nil
				}
			case <-late:
				return errors.New("kvmctl did not leave the terminal")
			}
		}
	}
}
