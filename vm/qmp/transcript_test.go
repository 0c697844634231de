package qmp_test

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/vm/qmp"
	"kvmctl/vm/qmp/qmptest"
)

var update = flag.Bool("update", false, "write testdata from what the real QEMU says")

const transcriptFile = "testdata/transcript.txt"

// shortLife is a guest's short life, as a client meets it. It is run on the real QEMU, on the model, and on the recorded transcript.
func shortLife(t *testing.T, conn net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := qmp.NewClient(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run := func(cmd string, args any) {
		t.Helper()
		if err := c.Execute(ctx, cmd, args, nil); err != nil {
			t.Fatal(err)
		}
	}
	state := func(want string) {
		t.Helper()
		if got, err := status(t, ctx, c); err != nil || got != want {
			t.Fatalf("status %q, %v; want %q", got, err, want)
		}
	}
	event := func(want string) {
		t.Helper()
		select {
		case e := <-c.Events():
			if e.Name != want || e.Time.IsZero() {
				t.Fatalf("event %+v, want %s", e, want)
			}
		case <-ctx.Done():
			t.Fatalf("no event %s", want)
		}
	}
	refused := func(cmd, class string) {
		t.Helper()
		err := c.Execute(ctx, cmd, nil, nil)
		var e *qmp.Error
		if !errors.As(err, &e) || e.Class != class {
			t.Fatalf("%s: error %v, want class %s", cmd, err, class)
		}
	}
	state("prelaunch")
	run("cont", nil)
	event("RESUME")
	state("running")
	run("cont", nil)
	run("stop", nil)
	event("STOP")
	run("stop", nil)
	state("paused")
	run("system_powerdown", nil)
	event("POWERDOWN")
	refused("no-such-command", "CommandNotFound")
	refused("qmp_capabilities", "CommandNotFound")
	refused("add-fd", "GenericError")
	if out, err := c.HMP(ctx, "info status"); err != nil || out != "VM status: paused\r\n" {
		t.Fatalf("HMP: %q, %v", out, err)
	}
	run("quit", nil)
	event("SHUTDOWN")
	<-c.Done()
}

func golden(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(transcriptFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRealQEMUSpeaksTheTranscript(t *testing.T) {
	g := startQEMU(t, 1)
	conn, err := qmp.DialUnix(within(t, 30*time.Second), g.sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	rec := &qmptest.Recorder{Conn: conn}
	shortLife(t, rec)
	if *update {
		if err := os.WriteFile(transcriptFile, []byte(rec.Transcript()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(golden(t), rec.Transcript()); d != "" {
		t.Error(d)
	}
}

func TestModelSpeaksTheTranscript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := qmptest.New()
		defer p.Close()
		rec := &qmptest.Recorder{Conn: p.Pipe()}
		shortLife(t, rec)
		if d := cmp.Diff(golden(t), rec.Transcript()); d != "" {
			t.Error(d)
		}
	})
}

func TestTranscriptPlayedBack(t *testing.T) {
	script := golden(t)
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		played := make(chan error, 1)
		go func() {
			defer theirs.Close()
			played <- qmptest.Play(theirs, script)
		}()
		shortLife(t, ours)
		if err := <-played; err != nil {
			t.Error(err)
		}
	})
}
