package hatest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Cmd is a program that runs on a node. It begins a process group, which is killed when its context ends, and the program when the lab ends.
type Cmd struct {
	*exec.Cmd
	node *Node
}

// Command prepares a program; as in os/exec, it is looked for in PATH.
func (n *Node) Command(ctx context.Context, argv ...string) *Cmd {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir = n.dir
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL} // of the node's thread, which Start uses
	c.Cancel = func() error { return unix.Kill(-c.Process.Pid, unix.SIGKILL) }
	c.WaitDelay = 2 * time.Second
	return &Cmd{c, n}
}

// Start is exec.Cmd's.
func (c *Cmd) Start() error { return c.node.Do(c.Cmd.Start) }

// Run is exec.Cmd's.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output is exec.Cmd's; what the program wrote to stderr stands in the error.
func (c *Cmd) Output() ([]byte, error) {
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%v on %s: %w: %s", c.Args, c.node.Name, err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}

// CombinedOutput is exec.Cmd's.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Process is a program that goes on by itself. What it writes stands in the file Log.
type Process struct {
	Log string

	cmd   *Cmd
	ended chan struct{}
	err   error
}

// Start starts a daemon in the foreground; name is its log's, and a number makes it unique. It runs until it ends, or Kill, or the lab ends.
func (n *Node) Start(name string, argv ...string) (*Process, error) {
	return n.StartCmd(name, n.Command(context.Background(), argv...))
}

// StartCmd is Start for a command that has an environment or files of its own.
func (n *Node) StartCmd(name string, c *Cmd) (*Process, error) {
	n.serial++
	log, err := os.Create(filepath.Join(n.dir, fmt.Sprintf("%s.%d.log", name, n.serial)))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, n.Name, err)
	}
	p := &Process{Log: log.Name(), cmd: c, ended: make(chan struct{})}
	go func() {
		p.err = c.Wait()
		close(p.ended)
	}()
	n.lab.atEnd(func() error { <-p.ended; return nil })
	n.lab.atEnd(p.Kill)
	return p, nil
}

// Pid is the program's.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program; to one that has ended it is nothing.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && err != os.ErrProcessDone {
		return fmt.Errorf("signal %v to %s: %w", sig, p.cmd.Args[0], err)
	}
	return nil
}

// Kill kills the program and what it left in its process group, and waits for its end.
func (p *Process) Kill() error {
	_ = unix.Kill(-p.Pid(), unix.SIGKILL) // ESRCH: all gone
	if err := p.Signal(os.Kill); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Wait waits for the program's end and gives its error, exec.Cmd.Wait's, or that of ctx.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Output is what the program wrote up to now.
func (p *Process) Output() string {
	b, _ := os.ReadFile(p.Log)
	return string(b)
}

// until asks every 2 ms.
func until(ctx context.Context, fact func() bool) error {
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for !fact() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
	}
	return nil
}
