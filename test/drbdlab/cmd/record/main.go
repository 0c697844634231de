// Command record plays what can happen to a DRBD resource on two small guests, and writes what DRBD says of it there into a directory, a
// txtar file a scenario: `go run ./test/drbdlab/cmd/record ha/drbd/testdata/8.4` as root. It takes about two minutes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"kvmctl/test/drbdlab"
)

// limit is for all scenarios together, on a machine that does other things too.
const limit = 15 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: record <directory>")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "record: error: cannot record: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, talk io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	odd, err := drbdlab.Program(ctx, "kvmctl/test/drbdlab/cmd/oddpeer")
	if err != nil {
		return err
	}
	lab, err := drbdlab.New(ctx, map[string][]byte{"/lab/oddpeer": odd})
	if err != nil {
		return err
	}
	defer lab.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	for _, s := range scenarios {
		began := time.Now()
		data, err := play(ctx, lab, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, s.name+".txtar"), data, 0o644); err != nil {
			return fmt.Errorf("keep %s: %w", s.name, err)
		}
		fmt.Fprintf(talk, "%s %.1fs\n", s.name, time.Since(began).Seconds())
	}
	return nil
}

// play brings a scenario about and gives the record of it, with the stream of events on the way there where there was one.
func play(ctx context.Context, lab *drbdlab.Lab, s scenario) ([]byte, error) {
	guests := []*drbdlab.Guest{lab.A, lab.B}
	if s.before != nil {
		if err := s.before(ctx, lab); err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	var streams []*stream
	for _, g := range guests {
		if _, err := g.Sh(ctx, "dmesg -c >/dev/null"); err != nil { // log is of what comes now
			return nil, err
		}
		st, err := follow(ctx, g)
		if err != nil {
			return nil, err
		}
		streams = append(streams, st)
	}
	err := s.do(ctx, lab)
	a := txtar.Archive{Comment: []byte(s.about + "\n\n")}
	for i, g := range guests {
		files, takeErr := take(ctx, g)
		events := streams[i].end(ctx)
		err = errors.Join(err, takeErr)
		a.Files = append(a.Files, files...)
		a.Files = append(a.Files, txtar.File{Name: g.Name + "/events2", Data: events})
	}
	if err == nil && s.after != nil {
		err = s.after(ctx, lab)
	}
	if err != nil {
		return nil, err
	}
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return len(f.Data) == 0 })
	return txtar.Format(&a), nil
}
