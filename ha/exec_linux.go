package ha

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/smallfile"
)

// handoverFD, in the environment, is the descriptor of the state that the program before has left, and behind colons all others that it left
// open: they have to be closed by a program that cannot read the state, or that would find itself listening at the control socket.
const handoverFD = "KVMHA_HANDOVER"

// BootID tells this boot of the machine from all others (random(4)).
func BootID() (string, error) {
	b, err := smallfile.Read("/proc/sys/kernel/random/boot_id", 64)
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Replace makes this process the program at path, with h and its descriptors. It comes back only when it fails.
func Replace(path string, argv, env []string, h *Handover) error {
	b, err := h.encode()
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("kvmha handover", 0) // no CLOEXEC: it is for the next program
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "handover")
	if _, err := f.Write(b); err != nil {
		return errors.Join(fmt.Errorf("write the state: %w", err), f.Close())
	}
	word := strconv.Itoa(fd)
	for _, fd := range h.descriptors() {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return errors.Join(os.NewSyscallError("keep a descriptor", err), f.Close())
		}
		word += ":" + strconv.Itoa(fd)
	}
	clean := []string{handoverFD + "=" + word}
	for _, v := range env {
		if !strings.HasPrefix(v, handoverFD+"=") {
			clean = append(clean, v)
		}
	}
	err = unix.Exec(path, argv, clean)
	runtime.KeepAlive(h) // its files
	return errors.Join(fmt.Errorf("execute %s: %w", path, err), f.Close())
}

// TakeOver gives what the program before left to this one; nil: this is a start. The environment forgets it, so that no child sees it.
func TakeOver(now time.Time) (h *Handover, err error) {
	word, others, _ := strings.Cut(os.Getenv(handoverFD), ":")
	if word == "" {
		return nil, nil
	}
	if err := os.Unsetenv(handoverFD); err != nil {
		return nil, fmt.Errorf("take over the state: %w", err)
	}
	defer func() {
		for other := range strings.SplitSeq(others, ":") {
			fd, bad := strconv.Atoi(other)
			switch {
			case bad != nil || fd < 3:
			case err != nil:
				_ = unix.Close(fd)
			default:
				unix.CloseOnExec(fd) // no child of ours is to have it
			}
		}
	}()
	fd, err := strconv.Atoi(word)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("take over the state: %s=%q is no descriptor", handoverFD, word)
	}
	f := os.NewFile(uintptr(fd), "handover")
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("take over the state: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxHandover+1))
	if err != nil {
		return nil, fmt.Errorf("take over the state: %w", err)
	}
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	return decodeHandover(b, boot, now)
}
