package vm

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hostOnly are QEMU's options that a guest does not see: how it is reached, where its files are, who may do what to it.
var hostOnly = []string{"-add-fd", "-blockdev", "-chardev", "-display", "-incoming", "-initrd", "-append", "-kernel", "-mon", "-name", "-netdev",
	"-overcommit", "-pidfile", "-run-with", "-S", "-sandbox", "-vnc"}

// Hardware gives the part of a command line of QEMU's that a guest sees, an option with its value each. A state of a guest's memory fits
// the same hardware only.
func Hardware(argv []string) []string {
	var seen []string
	for i := 1; i < len(argv); i++ {
		name, value := argv[i], ""
		if i+1 < len(argv) && !strings.HasPrefix(argv[i+1], "-") {
			i++
			value = " " + argv[i]
		}
		if slices.Contains(hostOnly, name) || name == "-object" && !strings.HasPrefix(value, " memory-backend") {
			continue
		}
		seen = append(seen, name+value)
	}
	return seen
}

// ChangedError says that a guest's hardware is not that of a state of its memory.
type ChangedError struct {
	Name    string
	Then    string // an option of then that is not there now; empty: none
	Now     string
	Restore string // what may be typed to do without the state; empty: nothing
	Runs    bool   // the guest runs on the older hardware, and its file was changed since
}

func (e *ChangedError) Error() string {
	switch {
	case e.Then == "":
		return "its hardware changed since then: now there is also " + e.Now
	case e.Now == "":
		return "its hardware changed since then: there was also " + e.Then
	}
	return fmt.Sprintf("its hardware changed since then: it was %s, and is %s", e.Then, e.Now)
}

// Hint says how to go on.
func (e *ChangedError) Hint() string {
	if e.Runs {
		return "kvmctl restart " + e.Name + "; then the same again"
	}
	return "take back what changed in vm.toml (kvmctl show " + e.Name + ")" + e.Restore
}

// Refused marks the error as a refusal for safety.
func (e *ChangedError) Refused() bool { return true }

// sameHardware compares two command lines by what the guest sees; a guest's state of then would be lost in another machine.
func sameHardware(name string, then, now []string) error {
	a, b := Hardware(then), Hardware(now)
	var gone, come []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			gone = append(gone, x)
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			come = append(come, x)
		}
	}
	switch {
	case len(gone) == 0 && len(come) == 0 && len(a) != len(b):
		return &ChangedError{Name: name, Then: fmt.Sprintf("%d devices and settings", len(a)), Now: fmt.Sprintf("%d", len(b))}
	case len(gone) == 0 && len(come) == 0:
		return nil
	}
	e := &ChangedError{Name: name}
	if len(gone) > 0 {
		e.Then = gone[0]
	}
	if len(come) > 0 {
		e.Now = come[0]
	}
	return e
}

// asStarted is sameHardware for a guest that runs: a state of it could only go on in the machine that its file makes.
func asStarted(name string, started, file []string) error {
	err := sameHardware(name, started, file)
	if e, ok := errors.AsType[*ChangedError](err); ok {
		e.Runs = true
	}
	return err
}

// DiskState tells whether somebody wrote to a file of a guest's disks.
type DiskState struct {
	Path  string    `json:"path"`
	Size  int64     `json:"size"`
	Time  time.Time `json:"time"` // of the last write
	Inode uint64    `json:"inode"`

	// Of a block device: how many sectors were written to it since the host's boot. What is written in another boot goes unseen.
	Written uint64 `json:"written,omitempty"`
	Boot    string `json:"boot,omitempty"`
}

// DiskWrittenError says that a disk is not what it was when the guest's memory was saved: to restore it would destroy the file system.
type DiskWrittenError struct {
	Path, Why string
}

func (e *DiskWrittenError) Error() string {
	return fmt.Sprintf("disk %s %s since the guest was saved: going on from there would destroy what is on it", e.Path, e.Why)
}

// Refused marks the error as a refusal for safety.
func (e *DiskWrittenError) Refused() bool { return true }

// diskFiles gives the files that a guest's disks consist of, its UEFI variables among them.
func (h *Host) diskFiles(spec *Spec, w *Wiring) []string {
	var files []string
	for _, chain := range w.Chains {
		for _, layer := range chain {
			files = append(files, layer.Path)
		}
	}
	if spec.Firmware == FirmwareUEFI {
		files = append(files, h.NVRAM(spec.Name))
	}
	return files
}

// stateOfDisks looks at the files. Of a block device the kernel counts what is written; what is still in its cache is written first.
func stateOfDisks(files []string) ([]DiskState, error) {
	var all []DiskState
	for _, path := range files {
		st, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		d := DiskState{Path: path}
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !ok {
			return nil, fmt.Errorf("stat %s: no inode", path)
		}
		d.Inode = sys.Ino
		if st.Mode().IsRegular() {
			d.Size, d.Time = st.Size(), st.ModTime()
		} else if d.Written, err = sectorsWritten(path, sys.Rdev); err != nil {
			return nil, err
		} else {
			d.Boot = bootID()
		}
		all = append(all, d)
	}
	return all, nil
}

// sectorsWritten reads a block device's counter (Documentation/block/stat.rst: the seventh field).
func sectorsWritten(path string, dev uint64) (uint64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return 0, fmt.Errorf("learn what was written to %s: %w", path, err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 7 {
		return 0, fmt.Errorf("learn what was written to %s: %q", path, text)
	}
	return strconv.ParseUint(fields[6], 10, 64)
}

// sameDisks compares disks with what they were.
func sameDisks(then, now []DiskState) error {
	for _, was := range then {
		i := slices.IndexFunc(now, func(d DiskState) bool { return d.Path == was.Path })
		switch {
		case i < 0:
			return &DiskWrittenError{was.Path, "is the guest's no more"}
		case now[i].Inode != was.Inode:
			return &DiskWrittenError{was.Path, "was replaced"}
		case was.Boot != "" && was.Boot == now[i].Boot && was.Written != now[i].Written:
			return &DiskWrittenError{was.Path, "was written to"}
		case now[i].Size != was.Size || !now[i].Time.Equal(was.Time):
			return &DiskWrittenError{was.Path, "was written to"}
		}
	}
	for _, is := range now {
		if !slices.ContainsFunc(then, func(d DiskState) bool { return d.Path == is.Path }) {
			return &DiskWrittenError{is.Path, "was added"}
		}
	}
	return nil
}
