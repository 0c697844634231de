// Command labexec runs inside a guest of a lab: it carries out what comes in at a port, which is a device or, with a colon, an address to listen at.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"kvmctl/test/drbdlab/wire"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "labexec:", err)
		os.Exit(1)
	}
}

func run(port string) error {
	if !strings.Contains(port, ":") {
		fd, err := syscall.Open(port, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), port) // blocking: a read that finds nobody connected ends at once, and init begins anew
		defer f.Close()
		return serve(f)
	}
	l, err := net.Listen("tcp", port)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := serve(c); !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "labexec:", err)
			}
		}()
	}
}

// server runs programs for one stream.
type server struct {
	port io.ReadWriter

	mu      sync.Mutex // of writes, and of running
	running map[uint32]*exec.Cmd
}

func serve(port io.ReadWriter) error {
	s := &server{port: port, running: map[uint32]*exec.Cmd{}}
	for {
		f, err := wire.Read(port)
		if err != nil {
			return err
		}
		switch f.Kind {
		case wire.Hello:
			s.send(f)
		case wire.Start:
			var c wire.Command
			if err := json.Unmarshal(f.Data, &c); err != nil {
				return err
			}
			go s.run(f.ID, c)
		case wire.Kill:
			s.mu.Lock()
			if cmd := s.running[f.ID]; cmd != nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // gone already is as good
			}
			s.mu.Unlock()
		}
	}
}

func (s *server) send(f wire.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = wire.Write(s.port, f) // its reader has gone, and nobody else wants it
}

// stream passes output on.
type stream struct {
	s    *server
	id   uint32
	kind wire.Kind
}

func (w stream) Write(b []byte) (int, error) {
	w.s.send(wire.Frame{ID: w.id, Kind: w.kind, Data: bytes.Clone(b)})
	return len(b), nil
}

func (s *server) run(id uint32, c wire.Command) {
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Stdin = bytes.NewReader(c.Stdin)
	cmd.Stdout, cmd.Stderr = stream{s, id, wire.Stdout}, stream{s, id, wire.Stderr}
	cmd.Env = append([]string{"PATH=/sbin:/bin:/lab", "LC_ALL=C", "HOME=/root"}, c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 2e9 // a daemon that keeps its output open
	var end wire.Ended
	err := cmd.Start()
	if err == nil {
		s.mu.Lock()
		s.running[id] = cmd
		s.mu.Unlock()
		err = cmd.Wait()
		s.mu.Lock()
		delete(s.running, id)
		s.mu.Unlock()
	}
	if cmd.ProcessState == nil {
		end.Error = err.Error()
	} else if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		end.Exit, end.Signal = -1, int(st.Signal())
	} else {
		end.Exit = cmd.ProcessState.ExitCode()
	}
	data, err := json.Marshal(end)
	if err == nil {
		s.send(wire.Frame{ID: id, Kind: wire.Exit, Data: data})
	}
}
