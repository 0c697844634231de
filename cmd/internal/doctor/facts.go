package doctor

import (
	"time"

	"kvmctl/internal/units"
	"kvmctl/vm"
	"kvmctl/vm/accel"
)

// Facts is everything that the judgement knows. What could not be found out is its zero value and judged as sound.
type Facts struct {
	Now         time.Time
	KVM         KVM
	QEMU        string // path of the binary
	UIDBase     int
	Accounts    []Account
	Processes   []Process
	Limits      Limits
	BridgeNF    []string // the sysctls net.bridge.bridge-nf-call-* that are 1
	Bridged     bool     // bridges are declared, or a guest has a network card
	Guests      []Guest  // sorted by name
	FileSystems []FileSystem
	Files       []FileFault
	TAPs        []TAP    // that bear our alias
	Bridges     []string // that we made, that are declared no more and have no port
	Tmpfs       []Mount  // of runs
	StaleLocks  []string // of guests that are neither configured nor run
	Unfinished  []string // directories with images that were never finished
	Mistakes    int      // in kvm.toml and vm.toml
	Unsynced    bool     // the kernel says that nobody keeps its clock
}

// KVM is what is known of the hardware's virtualization.
type KVM struct {
	Device  string
	Verdict accel.Verdict
	Flags   CPUFlags
	Nested  string // "Y", "1", "N", "0": the module's parameter; empty: no module
	Module  string // kvm_intel or kvm_amd
}

// CPUFlags are the flags of /proc/cpuinfo that matter here.
type CPUFlags struct{ VMX, SVM, Hypervisor bool }

// Account is a range of ids that a file gives away.
type Account struct {
	File  string // /etc/passwd, …
	Name  string
	First int
	Count int
}

// Process is a process of the host.
type Process struct {
	PID     int
	UID     int  // real
	State   byte // R, S, D, T, t, Z (proc(5))
	Name    string
	Command string // its arguments, cut
}

// Limits are the bounds that the kernel sets.
type Limits struct {
	OpenFiles   uint64     // RLIMIT_NOFILE, hard
	Memory      units.Size // of the host
	Overcommit  int        // vm.overcommit_memory
	CommitLimit units.Size
	HugeFree    units.Size
}

// Guest is one guest, configured or not.
type Guest struct {
	Name       string
	Configured bool
	Broken     bool // its file has mistakes: check tells them
	State      vm.StateWord
	Note       string
	PID        int
	UID        int // 0: it never had one
	Memory     units.Size
	Autostart  bool
	HugePages  bool // asked for in qemu_args
	Owed       bool // hooks of an end have not run
	MACs       []string
	LastFact   time.Time
}

// FileSystem is one that holds images, or what kvmctl keeps.
type FileSystem struct {
	Path   string     // one of the directories on it
	Size   units.Size // of the whole
	Free   units.Size // for those who are not root
	Growth units.Size // what the images on it may still take
	Images int
}

// FileFault is a file that a guest, or kvmctl, cannot use as it is.
type FileFault struct {
	Guest string // empty: of the host
	What  string // "disk.0.image", "hooks.pre_start"
	Key   string // where its file names it: "disk[0].image"
	Path  string
	Why   string
	Type  string // what to type
}

// TAP is an interface with the alias of a guest's card.
type TAP struct {
	Name    string
	Alias   string
	Guest   string
	Holders []int  // processes that have it open
	Whose   string // of another host's root: what tells so, in words; "": it is ours
}

// Mount is a tmpfs of a run's logs.
type Mount struct {
	Point string
	Guest string
}
