package ha

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A program of another version begins anew (handoverVersion): the control socket of the program before must not look like another agent to it.
func TestAStateThatCannotBeReadDoesNotKeepTheAgentFromStarting(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kvmha.sock")
	l, err := ListenControl(t.Context(), dir, path)
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	kept, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	control, err := unix.Dup(int(kept.Fd())) // as the exec leaves it
	if err != nil {
		t.Fatal(err)
	}
	kept.Close()
	l.Close()
	fd, err := unix.MemfdCreate("state", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte(`{"version":99}`)); err != nil {
		t.Fatal(err)
	}
	t.Setenv(handoverFD, fmt.Sprintf("%d:%d", fd, control))
	if h, err := TakeOver(sinceBoot(time.Hour)); h != nil || err == nil || err.Error() != "take over the state: it is of another version" {
		t.Errorf("%v, %v", h, err)
	}
	if os.Getenv(handoverFD) != "" {
		t.Error("the environment still has it")
	}
	again, err := ListenControl(t.Context(), dir, path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
