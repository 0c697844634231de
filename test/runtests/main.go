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
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 when go test and our own count both say that all is well. With -alone=PATTERN[,PATTERN]... as the first
// argument the packages of these patterns wait for all others and then run one after the other: what they promise is a matter of milliseconds,
// which they cannot keep while another package starts twenty QEMUs. A few tests that fail are run once more, each by itself: see again.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c count
	code := 0
	rounds := [][]string{args}
	if len(args) > 0 {
		if patterns, ok := strings.CutPrefix(args[0], "-alone="); ok {
			var err error
			args = args[1:]
			if rounds, err = split(ctx, args, strings.Split(patterns, ",")); err != nil {
				fmt.Fprintf(stderr, "runtests: error: cannot list packages: %v\n", err)
				return 1
			}
		}
	}
	for _, round := range rounds {
		if got := goTest(ctx, &c, round, stdout, stderr); got != 0 && code == 0 {
			code = got
		}
	}
	if tests := c.secondChances(); len(tests) > 0 && again(ctx, &c, flags(args), tests, stdout, stderr) {
		code = 0
	}
	io.WriteString(stdout, c.summary())
	if code == 0 && (c.failed > 0 || c.unfinished() > 0) {
		code = 1
	}
	return code
}

// split gives the arguments of two rounds: of all packages that args name but those of the patterns, and of these.
func split(ctx context.Context, args, patterns []string) ([][]string, error) {
	flags := flags(args)
	all, err := list(ctx, slices.DeleteFunc(slices.Clone(args), isFlag))
	if err != nil {
		return nil, err
	}
	alone, err := list(ctx, patterns)
	if err != nil {
		return nil, err
	}
	rest := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains(alone, p) })
	alone = slices.DeleteFunc(alone, func(p string) bool { return !slices.Contains(all, p) })
	var rounds [][]string
	if len(rest) > 0 {
		rounds = append(rounds, slices.Concat(flags, rest))
	}
	if len(alone) > 0 {
		rounds = append(rounds, slices.Concat([]string{"-p=1"}, flags, alone))
	}
	return rounds, nil
}

// flags are the arguments that are no packages.
func flags(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return !isFlag(a) })
}

func isFlag(arg string) bool { return !strings.HasPrefix(arg, ".") }

// again runs each of the tests once more, with nothing beside it, and tells whether all passed then. Many tests here hold a promise about
// milliseconds on a machine that is shared; one that fails by itself, too, is broken. What passed only now is named in the last lines, for
// somebody to mend: it is a flake of the test or a race of ours.
func again(ctx context.Context, c *count, flags []string, tests []key, stdout, stderr io.Writer) bool {
	for _, k := range tests {
		fmt.Fprintf(stdout, "again, by itself: %s %s\n", k.pkg, k.test)
		var alone count
		if goTest(ctx, &alone, slices.Concat(flags, []string{"-count=1", "-run=^" + k.test + "$", k.pkg}), stdout, stderr) != 0 || alone.passed == 0 || alone.failed > 0 {
			return false
		}
	}
	c.forgive(tests)
	return true
}

func list(ctx context.Context, patterns []string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "go", append([]string{"list"}, patterns...)...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return strings.Fields(string(out)), err
}

// goTest runs one go test, counts, and gives its exit code.
func goTest(ctx context.Context, c *count, args []string, stdout, stderr io.Writer) int {
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
	var exit *exec.ExitError
	switch {
	case waitErr == nil:
		return 0
	case errors.As(waitErr, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		return 1
	}
}
