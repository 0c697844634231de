package vm

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
)

// vncPort0 is the TCP port of display 0.
const vncPort0 = 5900

// makeVNCDir makes the directory in which QEMU binds its screen's socket itself: -vnc takes no descriptor. It is the one place that the
// guest's uid may write to, so it is a file system of one page and few names.
func (l Layout) makeVNCDir(name string, uid int) error {
	path := l.run(name, vncDirName)
	if err := os.Mkdir(path, 0o700); err != nil {
		return fmt.Errorf("make the directory of the screen's socket: %w", err)
	}
	opts := fmt.Sprintf("mode=0700,uid=%d,gid=%d,size=4k,nr_inodes=4", uid, uid)
	if err := unix.Mount("kvmctl", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, opts); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", path, err)
	}
	return nil
}

// openScreen opens what the guest's screen needs.
func (s *starting) openScreen() error {
	if s.spec.VNC.Socket {
		dir, err := os.Open(s.h.run(s.spec.Name, vncDirName))
		if err != nil {
			return fmt.Errorf("open the directory of the screen's socket: %w", err)
		}
		s.files.byName[fdVNCDir] = dir
	}
	if s.spec.VNC.TLS != "" {
		return s.openTLS()
	}
	return nil
}

// askScreen sets the guest's screen up while the recorder is negotiated, and asks where it is.
func (s *starting) askScreen(ctx context.Context) error {
	v := s.spec.VNC
	if !v.Enabled {
		return nil
	}
	if v.PasswordFile != "" {
		password, err := readPassword(v.PasswordFile)
		if err != nil {
			return err
		}
		args := map[string]any{"protocol": "vnc", "password": password}
		if err := s.mon.Execute(ctx, "set_password", args, nil); err != nil {
			return fmt.Errorf("set the VNC password: %w", err)
		}
	}
	if err := s.mon.Execute(ctx, "query-vnc", nil, &s.screen); err != nil {
		return fmt.Errorf("ask for the VNC display: %w", err)
	}
	return nil
}

// settings waits for askScreen and notes what it learnt.
func (s *starting) settings(context.Context) error {
	v := s.spec.VNC
	if s.screenErr != nil || !v.Enabled {
		return s.screenErr
	}
	s.state.VNC = net.JoinHostPort(s.screen.Host, s.screen.Service)
	if v.Socket {
		s.state.VNC = "unix:" + s.h.VNCSocket(s.spec.Name)
	} else if v.Auto {
		s.keepVNCWish(s.screen.Service)
	}
	return s.h.saveState(s.spec.Name, s.state)
}

// keepVNCWish remembers the display that the search took, so that the guest's screen is found where it was. It is a wish: without it,
// or with nonsense in it, the next search begins at 0.
func (s *starting) keepVNCWish(service string) {
	port, err := strconv.Atoi(service)
	if err != nil || port-vncPort0 == s.p.Target.Display {
		return
	}
	wish := []byte(strconv.Itoa(port-vncPort0) + "\n")
	if err := atomicfile.WriteVolatile(s.h.VNCWish(s.spec.Name), wish, 0o600); err != nil {
		s.p.Notes = append(s.p.Notes, fmt.Sprintf("its display will not be remembered: %v", err))
	}
}

// maxDisplay is the last display from which a whole search has ports.
const maxDisplay = 65535 - vncPort0 - vncSearch

func (l Layout) loadVNCWish(name string) int {
	b, err := os.ReadFile(l.VNCWish(name))
	if err != nil || len(b) > 16 {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 0 || n > maxDisplay {
		return 0
	}
	return n
}

// LastDisplay is the display that an automatic search took last; ok: there was one.
func (l Layout) LastDisplay(name string) (display int, ok bool) {
	if absent(l.VNCWish(name)) {
		return 0, false
	}
	return l.loadVNCWish(name), true
}

// displayHolder names who listens where a guest's screen should be, for people; "": it is not found.
func (h *Host) displayHolder(v VNC) string {
	if v.Auto || v.Socket {
		return ""
	}
	pid := listenerOf(v.Listen, uint16(vncPort0+v.Display))
	if pid == 0 {
		return ""
	}
	names, err := h.Known()
	if err != nil {
		names = nil // the process is named all the same
	}
	for _, name := range names {
		p, err := h.owner(name)
		if err != nil {
			continue
		}
		p.Close()
		if p.PID == pid {
			return "guest " + name
		}
	}
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return fmt.Sprintf("pid %d", pid)
	}
	return fmt.Sprintf("%s (pid %d)", strconv.QuoteToASCII(strings.TrimSpace(string(comm))), pid)
}
