package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm/qmp"
)

// exec starts QEMU. It is our child until kvmctl ends; then it belongs to init.
func (s *starting) exec(ctx context.Context) error {
	files, err := s.files.inOrder(s.p.Wiring)
	if err != nil {
		return err
	}
	stderr, err := os.OpenFile(s.h.run(s.spec.Name, conDirName, stderrName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of QEMU's errors: %w", err)
	}
	defer stderr.Close()
	plan := launchPlan{UID: s.uid, Groups: s.p.groups, Argv: s.p.Argv, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}}
	if s.cmd, err = launch(plan, files, stderr); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(s.ended) }() // owner: kill, which waits for ended, or this process's own end
	s.onUndo(s.kill)
	s.enterScope(ctx)
	recorder := s.files.recorder
	s.files.recorder = nil
	s.files.close()
	s.files.recorder = recorder
	// These are written while QEMU gets ready; a start that fails writes its end behind the fact.
	if err := errors.Join(s.h.saveArgv(s.spec.Name, s.p.Argv), s.h.saveRecord(s.spec.Name, s.record)); err != nil {
		return err
	}
	facts := []Fact{{Time: s.state.Started, Run: s.state.Run, Kind: KindStart,
		PID: s.cmd.Process.Pid, Boot: s.state.Boot, By: s.h.By, Reason: s.before.word()}}
	if s.cd != "" {
		facts = append(facts, Fact{Time: s.state.Started, Run: s.state.Run, Kind: KindInstall, Reason: s.cd, By: s.h.By})
	}
	return s.h.appendFacts(s.spec.Name, s.h.HistorySize, true, facts...)
}

func (s *starting) kill() {
	_ = s.cmd.Process.Signal(unix.SIGKILL) // an error means that it has ended
	select {
	case <-s.ended:
	case <-time.After(rungTime):
		s.stuck = true
	}
}

// recorder negotiates the flight recorder and leaves it: from then on QEMU writes every event to the log by itself.
// A guest whose recorder was not negotiated is never let go. QEMU answers all its monitors in the moment in which the machine is made,
// so the tool's is opened meanwhile.
func (s *starting) recorder(ctx context.Context) error {
	s.openMonitorMeanwhile(ctx)
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	defer cancel()
	_, err := qmp.Negotiate(ctx, s.files.recorder)
	if err != nil {
		return fmt.Errorf("start the flight recorder: %w", err)
	}
	return s.files.recorder.Close()
}

// openMonitorMeanwhile begins what openMonitor waits for, or undo.
func (s *starting) openMonitorMeanwhile(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	s.opened = make(chan struct{})
	s.onUndo(func() {
		cancel()
		<-s.opened
		if s.monErr == nil {
			s.closeMonitor()
		}
	})
	go func() {
		defer close(s.opened)
		defer cancel()
		l, err := s.h.useMonitor(ctx, s.spec.Name, qmpBusy)
		if err != nil {
			s.monErr = err
			return
		}
		s.mon, s.closeMonitor, s.monErr = s.h.dialMonitor(ctx, s.spec.Name, l) // as long as QEMU needs to get ready
		if s.monErr == nil {
			s.screenErr = s.askScreen(ctx)
		}
	}()
}

func (s *starting) openMonitor(context.Context) error {
	<-s.opened // within greetingTime
	return s.monErr
}

// release lets the guest run. From here on it is a running guest, whatever happens to us.
func (s *starting) release(ctx context.Context) error {
	// Not cut short by ^C: a guest that may have been let go must not be undone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), qmp.CommandTimeout("cont"))
	defer cancel()
	if err := s.mon.Execute(ctx, "cont", nil, nil); err != nil {
		return fmt.Errorf("let the guest go: %w", err)
	}
	if s.before != nil && s.before.snapshot == "" {
		if err := s.h.consumeSaved(s.spec.Name); err != nil { // the disks move on, so it is of no use any more
			s.p.Notes = append(s.p.Notes, fmt.Sprintf("it goes on, but its saved state is still there: %v", err))
		}
	}
	if err := os.Remove(s.h.run(s.spec.Name, startingName)); err != nil {
		s.p.Notes = append(s.p.Notes, fmt.Sprintf("it runs, but looks like one that is being started until the next command: %v", err))
	}
	return nil
}

// done lets go of what only a failed start would need.
func (s *starting) done() {
	s.closeMonitor()
	_ = s.marker.Leave()
	s.undo = nil
}

// explain gives an error its best words: a QEMU that ended says itself why.
func (s *starting) explain(err error) error {
	if held := s.h.CheckHold(s.spec.Name); held != nil {
		err = held // who fences it kills QEMU, too
	}
	if s.cmd == nil {
		return err
	}
	if errors.As(err, new(*HeldError)) {
		return s.fail(err)
	}
	patience := 200 * time.Millisecond
	if errors.Is(err, qmp.ErrClosed) || errors.As(err, new(*LoadError)) {
		patience = rungTime // its sockets close a little before it is gone
	}
	select {
	case <-s.ended:
	case <-time.After(patience): // it lives: the error is not its end
		return s.fail(err)
	}
	lines := lastLines(s.h.run(s.spec.Name, conDirName, stderrName), 8)
	err = reword(&LaunchError{Stderr: lines, Exit: s.cmd.ProcessState.String()}, s.spec, s.p.Wiring)
	var taken *DisplayTakenError
	if errors.As(err, &taken) {
		taken.By = s.h.displayHolder(s.spec.VNC)
	}
	return s.fail(err, lines...)
}

// fail notes the end of a start that came as far as QEMU, and what QEMU said.
func (s *starting) fail(err error, said ...string) error {
	now := time.Now()
	state, reason := s.h.notStarted(s.spec.Name, "start failed: "+firstLine(err.Error()))
	facts := []Fact{{Time: now, Run: s.state.Run, Kind: KindEnd, State: state, Reason: reason}}
	for _, line := range said {
		facts = append(facts, Fact{Time: now, Run: s.state.Run, Kind: KindNote, Reason: "QEMU said: " + line})
	}
	_ = s.h.appendFacts(s.spec.Name, s.h.HistorySize, false, facts...)
	return err
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// maxLastLines bounds the part of a log that lastLines looks at, in bytes.
const maxLastLines = 16 << 10

// lastLines gives the end of a log file; what cannot be read has no lines.
func lastLines(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil
	}
	part := min(st.Size(), maxLastLines)
	b, err := io.ReadAll(io.NewSectionReader(f, st.Size()-part, part))
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines[max(0, len(lines)-n):]
}
