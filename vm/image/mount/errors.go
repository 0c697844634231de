package mount

import (
	"fmt"
	"strings"

	"kvmctl/vm/image/parttable"
)

// UnmountableError says that a partition holds nothing that can be mounted.
type UnmountableError struct{ Part, Reason string }

func (e *UnmountableError) Error() string { return fmt.Sprintf("partition %s: %s", e.Part, e.Reason) }

// ReadOnlyError refuses to write what Linux cannot.
type ReadOnlyError struct{ Part, FS string }

func (e *ReadOnlyError) Error() string {
	if strings.HasPrefix(e.FS, "ufs") {
		return fmt.Sprintf("partition %s is %s, which Linux can only read", e.Part, strings.ToUpper(e.FS))
	}
	return fmt.Sprintf("partition %s is %s, which cannot be written", e.Part, e.FS)
}

// Hint names what works for a FreeBSD guest.
func (e *ReadOnlyError) Hint() string {
	if strings.HasPrefix(e.FS, "ufs") {
		return "without --rw it can be read; to change it: a nuageinit seed (kvmctl install <vm> --cloud-init FILE), or single-user mode on kvmctl console <vm>"
	}
	return "without --rw it can be read"
}

// Refused marks the error as a refusal for safety.
func (e *ReadOnlyError) Refused() bool { return true }

// PartError says that it is not clear which partition is meant.
type PartError struct {
	Want  string // empty: none was named
	Table parttable.Table
	Can   []parttable.Partition // those that can be mounted
}

func (e *PartError) Error() string {
	switch {
	case e.Want != "":
		return fmt.Sprintf("there is no partition %q; there is %s", e.Want, names(e.Table.Partitions))
	case len(e.Can) == 0:
		return fmt.Sprintf("none of its %d partitions holds a file system that can be mounted", len(e.Table.Partitions))
	}
	return fmt.Sprintf("%d partitions can be mounted: %s", len(e.Can), names(e.Can))
}

func names(parts []parttable.Partition) string {
	if len(parts) == 0 {
		return "none"
	}
	var all []string
	for _, p := range parts {
		n := p.Name
		if p.FS.Kind != "" {
			n += " (" + p.FS.Kind
			if p.FS.Label != "" {
				n += fmt.Sprintf(" %q", p.FS.Label)
			}
			n += ")"
		}
		all = append(all, n)
	}
	return strings.Join(all, ", ")
}

// Option is what has to be added to the command line, empty if nothing helps.
func (e *PartError) Option() string {
	switch {
	case len(e.Can) > 0:
		return "--part " + e.Can[len(e.Can)-1].Name
	case e.Want != "" && len(e.Table.Partitions) > 0:
		return "--part " + e.Table.Partitions[0].Name
	}
	return ""
}

// DirError says that a directory cannot be mounted on.
type DirError struct{ Dir, Reason, hint string }

func (e *DirError) Error() string { return e.Dir + " " + e.Reason }

// Hint says what helps.
func (e *DirError) Hint() string { return e.hint }

// Refused marks the error as a refusal for safety.
func (e *DirError) Refused() bool { return true }

// MountedError says that an image is mounted, which forbids what was asked.
type MountedError struct{ Mount Record }

func (e *MountedError) Error() string {
	if e.Mount.RW {
		return fmt.Sprintf("image %s is mounted read-write on %s", e.Mount.Image, e.Mount.Dir)
	}
	return fmt.Sprintf("image %s is mounted on %s", e.Mount.Image, e.Mount.Dir)
}

// Hint takes the mount back.
func (e *MountedError) Hint() string { return "kvmctl image umount " + e.Mount.Dir }

// Refused marks the error as a refusal for safety.
func (e *MountedError) Refused() bool { return true }

// BusyError says that somebody uses what should be unmounted.
type BusyError struct{ Dir string }

func (e *BusyError) Error() string {
	return "somebody has a file open below " + e.Dir + ", or stands in it"
}

// Hint says how to find out who.
func (e *BusyError) Hint() string { return "see who: fuser -vm " + e.Dir }

// LostError says that a mount was undone, but not all that had been written to it may be in the image.
type LostError struct {
	Mount  Record
	Reason string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("image %s, mounted read-write on %s: %s, so what was written last may be missing", e.Mount.Image, e.Mount.Dir, e.Reason)
}

// Hint says what to do with the image.
func (e *LostError) Hint() string {
	if e.Mount.Format == "raw" {
		return "let its guest check the file system at its next start"
	}
	return "kvmctl image check " + e.Mount.Image + "; and let its guest check the file system"
}

// NoDaemonError says that no program that can show an image is there.
type NoDaemonError struct{ Err error }

func (e *NoDaemonError) Error() string {
	return "no program to show the image: " + strings.ReplaceAll(e.Err.Error(), "\n", "; ")
}
func (e *NoDaemonError) Unwrap() error { return e.Err }

// Hint says how to get one.
func (e *NoDaemonError) Hint() string {
	return "apt-get install qemu-system-common; or apt-get install qemu-utils && modprobe nbd max_part=0"
}
