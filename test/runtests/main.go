// Command runtests runs `go test` with its own arguments, shows a line a package and the whole output of whatever fails, and
// counts: the last line is "N passed, N failed".
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 when go test and our own count both say that all is well.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintf(stderr, "runtests: error: cannot run go test: %v\n", err)
		return 1
	}
	var c count
	lines := bufio.NewReaderSize(pipe, 1<<20)
	for {
		line, readErr := lines.ReadBytes('\n')
		if len(line) > 0 {
			io.WriteString(stdout, c.add(line))
		}
		if readErr != nil {
			break
		}
	}
	waitErr := cmd.Wait()
	io.WriteString(stdout, c.summary())
	var exit *exec.ExitError
	switch {
	case waitErr == nil && c.failed == 0 && c.unfinished() == 0:
		return 0
	case errors.As(waitErr, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		return 1
	}
}
