package mount

import (
	"fmt"
	"strings"
)

// Kind says in which way a file system or its device is held.
type Kind uint8

// The kinds. What Unmount ends when it may kill are the processes of Open, Raw and Space, and the mounts of Bind and Nested;
// everything else is only named.
const (
	Open    Kind = iota // a process has a file of it open or mapped, runs from it, or is in one of its directories
	Raw                 // a process has the device open
	Space               // a process lives in another mount namespace that has it mounted
	Kept                // a mount namespace without processes, kept by a descriptor or a bind mount, has it mounted
	Bind                // it is mounted a second time
	Nested              // something is mounted on it
	Overlay             // an overlay has a layer there
	Export              // the kernel's NFS server exports it
	Loop                // a loop device has its file there
	Mapper              // a device of device-mapper or md lies on its device
	Swap                // it holds a swap file, or its device is swapped to
)

var kinds = [...]string{"open", "raw", "space", "kept", "bind", "nested", "overlay", "export", "loop", "mapper", "swap"}

func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Fate is what became of a holder.
type Fate uint8

// The fates.
const (
	Stays     Fate = iota // it was not touched, or went by itself
	Ended                 // SIGTERM ended it
	Killed                // only SIGKILL ended it
	Unmounted             // a mount: it was undone
	Immortal              // it was sent SIGKILL and has not ended: mostly it waits for I/O that is frozen
)

var fates = [...]string{"stays", "ended", "killed", "unmounted", "cannot be killed"}

func (f Fate) String() string {
	if int(f) < len(fates) {
		return fates[f]
	}
	return fmt.Sprintf("fate(%d)", uint8(f))
}

// Holder is one thing that keeps a file system from being let go.
type Holder struct {
	Kind Kind
	PID  int    // 0: no process
	Comm string // the process's name, at most 15 bytes
	Unit string // the systemd unit it belongs to; empty: none
	What string // what it holds, for people: "has /srv/x open"
	Fate Fate
}

func (h Holder) String() string {
	var b strings.Builder
	if h.PID != 0 {
		fmt.Fprintf(&b, "process %d (%s", h.PID, h.Comm)
		if h.Unit != "" {
			b.WriteString(", " + h.Unit)
		}
		b.WriteString(") ")
	}
	b.WriteString(h.What)
	if h.Fate != Stays {
		b.WriteString(" (" + h.Fate.String() + ")")
	}
	return b.String()
}

// process reports whether the kind is one that the end of its process ends.
func (k Kind) process() bool { return k == Open || k == Raw || k == Space }
