package hostcmd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/cmd/internal/cli"
	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// A kvmctl console whose terminal takes nothing, as behind ^S or a hung ssh, stops neither the guest nor who reads along, nor the recorder,
// nor the monitors. The guest writes as fast as it can: were its serial port to wait for that terminal, its log would stand still after
// what a pipe and a socket hold.
func TestAConsoleThatNobodyReadsStopsNobody(t *testing.T) {
	t.Parallel()
	h := vmtest.Host(t)
	spec := vmtest.Spec(t, h, olorin, guest.FloodConsole)
	configure(t, h, spec)
	vmtest.Start(t, h, spec)
	waitConsole(t, h, "the quick brown fox")
	in, keys, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	nobody, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	var exited sync.WaitGroup
	t.Cleanup(func() {
		leave()
		nobody.Close() // the pump's last write
		exited.Wait()
		for _, f := range []*os.File{in, keys, out} {
			f.Close()
		}
	})
	var talk bytes.Buffer
	exited.Go(func() {
		Main(ctx, &cli.Env{Prog: "kvmctl", Args: []string{"--root", h.Root, "console", olorin}, In: in, Out: out, Err: &talk, Get: environ(nil)})
	})
	until := time.Now().Add(vmtest.Patience)
	for { // it is at the console
		if _, there := h.ConsoleSitter(olorin); there {
			break
		}
		if time.Now().After(until) {
			t.Fatal("nobody is at the console")
		}
		time.Sleep(10 * time.Millisecond)
	}
	along, err := h.FollowConsole(olorin, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer along.Close()
	const enough = 512 << 10 // bytes: a pipe holds 64 KiB, a socket some hundred
	for heard := 0; heard < enough; {
		b, err := along.Next()
		if err != nil {
			t.Fatal(err)
		}
		if heard += len(b); heard < enough && time.Now().After(until) {
			t.Fatalf("who reads along heard %d bytes in %v: the guest stands still", heard, vmtest.Patience)
		}
		if len(b) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	for _, command := range []string{"stop", "cont"} {
		if code, out, said := kvmctl(t, h, "", "monitor", olorin, "-c", command); code != 0 {
			t.Errorf("%s: %d, %s%s", command, code, out, said)
		}
	}
	if err := h.Harvest(olorin); err != nil {
		t.Error(err)
	}
	if _, all, _ := kvmctl(t, h, "", "log", olorin, "--json"); !strings.Contains(all, `"STOP"`) || !strings.Contains(all, `"RESUME"`) {
		t.Errorf("the recorder has not heard it:\n%s", all)
	}
	if st := h.Status(t.Context(), []string{olorin})[0]; st.State != vm.StateRunning {
		t.Errorf("%+v", st)
	}
}

// slow is a terminal that takes a write when it is told to.
type slow struct {
	take chan struct{}
	got  bytes.Buffer
}

func (s *slow) Write(b []byte) (int, error) {
	<-s.take
	return s.got.Write(b)
}

func TestAPumpWaitsForNobodyAndTellsWhatItLeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{take: make(chan struct{})}
		p := newPump(s)
		p.most = 10
		for _, line := range []string{"one ", "two ", "three ", "four ", "5"} { // "one " is being written; "5" would fit
			if n, err := io.WriteString(p, line); n != len(line) || err != nil {
				t.Errorf("%q: %d, %v", line, n, err)
			}
			synctest.Wait()
		}
		close(s.take)
		if err := p.close(t.Context()); err != nil {
			t.Error(err)
		}
		want := "one two three \r\n[kvmctl: 6 bytes left out, which nobody read: kvmctl console --replay has them]\r\n"
		if got := s.got.String(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func TestAPumpLeavesATerminalThatTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{take: make(chan struct{})}
		p := newPump(s)
		io.WriteString(p, "lost")
		ctx, leave := context.WithTimeout(t.Context(), time.Minute)
		defer leave()
		began := time.Now()
		if err := p.close(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Minute+pumpEnd {
			t.Errorf("it waited %v", took)
		}
		close(s.take)
		<-p.done
	})
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAPumpTellsThatItsReaderHasGone(t *testing.T) {
	t.Parallel()
	p := newPump(closedPipe{})
	io.WriteString(p, "x")
	<-p.done
	if _, err := io.WriteString(p, "y"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
	if err := p.close(t.Context()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}
