package vm

import (
	"path/filepath"
	"strings"
)

// Layout knows every name that kvmctl keeps on disk. Root stands in front of all of them ("" is the real system).
//
// Names that begin with a dot belong to the host; a guest's name cannot begin with one.
type Layout struct{ Root string }

func (l Layout) path(elem ...string) string {
	return strings.TrimRight(l.Root, "/") + "/" + strings.Join(elem, "/") // a table of guests needs a thousand of them
}

// EtcDir holds kvm.toml and a directory per guest.
func (l Layout) EtcDir() string { return l.path("etc/kvm") }

// GuestEtcDir holds a guest's vm.toml and hooks.
func (l Layout) GuestEtcDir(name string) string { return l.path("etc/kvm", name) }

// GuestToml is a guest's configuration.
func (l Layout) GuestToml(name string) string { return l.path("etc/kvm", name, "vm.toml") }

// GuestTomlDeleted is vm.toml while its guest is being deleted: the guest is no more, and the rest of it can still be found.
func (l Layout) GuestTomlDeleted(name string) string {
	return l.path("etc/kvm", name, ".vm.toml.deleted")
}

// LibDir holds what survives a reboot.
func (l Layout) LibDir() string { return l.path("var/lib/kvm") }

// GuestLibDir holds a guest's ABI lock, history and, unless placed elsewhere, its images.
func (l Layout) GuestLibDir(name string) string { return l.path("var/lib/kvm", name) }

// ABILock pins what the guest sees of its machine.
func (l Layout) ABILock(name string) string { return l.path("var/lib/kvm", name, "abi.lock") }

// History is what happened to the guest, a JSON object a line; HistoryOld the part before the last rotation.
func (l Layout) History(name string) string { return l.path("var/lib/kvm", name, "history.jsonl") }

// HistoryOld is the rotated part of History.
func (l Layout) HistoryOld(name string) string { return l.path("var/lib/kvm", name, "history.jsonl.1") }

// HooksDue holds what the guest's end owes to its hooks, from before its start until they have run.
func (l Layout) HooksDue(name string) string { return l.path("var/lib/kvm", name, "hooks.due") }

// ConsoleLog is what the serial console said, as far as it was harvested.
func (l Layout) ConsoleLog(name string) string { return l.path("var/lib/kvm", name, "console.log") }

// ConsoleLogOld is the rotated part of ConsoleLog.
func (l Layout) ConsoleLogOld(name string) string {
	return l.path("var/lib/kvm", name, "console.log.1")
}

// VNCWish is the display that an automatic search took last, and where the next one begins.
func (l Layout) VNCWish(name string) string { return l.path("var/lib/kvm", name, "vnc.display") }

// ABILockOf is the lock as it was with a machine version that was upgraded since.
func (l Layout) ABILockOf(name, machine string) string { return l.ABILock(name) + "." + machine }

// OldABILocks lists what ABILockOf kept.
func (l Layout) OldABILocks(name string) []string {
	all, err := filepath.Glob(l.ABILock(name) + ".pc*")
	if err != nil {
		return nil // the root has a bracket in it: they are found by what looks for everything
	}
	return all
}

// LastStart is how the last run was started, kept at its end.
func (l Layout) LastStart(name string) string { return l.path("var/lib/kvm", name, "last-start.json") }

// NVRAM is the guest's UEFI variable store.
func (l Layout) NVRAM(name string) string { return l.path("var/lib/kvm", name, "nvram.fd") }

// SavedState is where a saved guest waits for its next start: the file, or a symbolic link to where it was saved. It is there only while the
// guest is nowhere else.
func (l Layout) SavedState(name string) string {
	return l.path("var/lib/kvm", name, "saved.state")
}

// SnapshotDir keeps what has to be the same when a snapshot of a guest's memory is loaded; the snapshots themselves are in its images.
func (l Layout) SnapshotDir(name string) string {
	return l.path("var/lib/kvm", name, "snapshots")
}

// HoldFile says that the guest was fenced and may not run. It is there for exactly as long.
func (l Layout) HoldFile(name string) string { return l.path("var/lib/kvm", name, "hold") }

// UIDLock serialises the choice of uid numbers on this host.
func (l Layout) UIDLock() string { return l.path("var/lib/kvm/.uid.lock") }

// RunRoot holds what a reboot may forget.
func (l Layout) RunRoot() string { return l.path("run/kvm") }

// QEMUCache remembers the version of the QEMU binary.
func (l Layout) QEMUCache() string { return l.path("run/kvm/.qemu.json") }

// KVMCache remembers the verdict on /dev/kvm.
func (l Layout) KVMCache() string { return l.path("run/kvm/.kvm.json") }

// SiteCache remembers what the guests' files were found to be.
func (l Layout) SiteCache() string { return l.path("run/kvm/.site.json") }

// NetRecord is how the networks were, while a change of them is not confirmed yet.
func (l Layout) NetRecord() string { return l.path("var/lib/kvm/.net-rollback.json") }

// NetConfirmed names the uplinks whose move into a bridge was confirmed once.
func (l Layout) NetConfirmed() string { return l.path("var/lib/kvm/.net-confirmed.json") }

// NetLast tells how the last change of the networks that was undone ended.
func (l Layout) NetLast() string { return l.path("run/kvm/.net-last.json") }

// NetGuardLog is what the last guard had to say; with systemd the journal has it.
func (l Layout) NetGuardLog() string { return l.path("run/kvm/.net-guard.log") }

// NetGuardLock is held by the guard of an unconfirmed change as long as it lives.
func (l Layout) NetGuardLock() string { return l.path("run/kvm/.net-guard.lock") }

// NetLock serialises changes of the declared networks.
func (l Layout) NetLock() string { return l.path("run/kvm/.net.lock") }

// MountsDir holds a directory for each image that `image mount` mounted; it exists only while there is one.
func (l Layout) MountsDir() string { return l.path("run/kvm/.mounts") }

// MountsLock serialises `image mount` and `image umount`.
func (l Layout) MountsLock() string { return l.path("run/kvm/.mounts.lock") }

// GuestLock is held by whoever starts, stops or changes the guest. It lies outside RunDir, which comes and goes.
func (l Layout) GuestLock(name string) string { return l.path("run/kvm", "."+name+".lock") }

// RunDir holds a running guest's sockets and logs; root:root 0711.
func (l Layout) RunDir(name string) string { return l.path("run/kvm", name) }

// The names inside RunDir.
const (
	pidfileName  = "qemu.pid"    // made for the guest's uid, locked by QEMU as long as it lives
	stateName    = "state.json"  // what was started
	argvName     = "argv.json"   // QEMU's command line
	recordName   = "spec.json"   // how, and what was changed since
	cursorName   = "cursor.json" // how far recorder and console were harvested
	readyName    = "ready.json"  // what was last seen of its readiness
	harvestName  = "harvest.lock"
	writerName   = "console.lock" // held by the one writer of the console
	qmpName      = "qmp.sock"     // the tool's monitor
	qmpLockName  = "qmp.lock"     // held while the tool's monitor is in use
	monName      = "mon.sock"     // people's monitor
	monLockName  = "mon.lock"
	consoleName  = "console.sock"
	agentName    = "agent.sock"
	agentLock    = "agent.lock"
	recDirName   = "rec" // tmpfs: the flight recorder's events
	conDirName   = "con" // tmpfs: the console's output and QEMU's stderr
	vncDirName   = "vnc" // tmpfs of the guest's uid, if its screen is a unix socket: QEMU binds that itself
	vncSockName  = "vnc.sock"
	tlsDirName   = "tls" // links to what QEMU reads its screen's certificates from
	eventsName   = "events"
	conLogName   = "console"
	stderrName   = "stderr"
	savingName   = "saving"   // where the guest is being saved to
	startingName = "starting" // exists from before QEMU's exec until the guest was let go
)

// Run gives the path of one of the names inside RunDir.
func (l Layout) run(name string, elem ...string) string {
	return filepath.Join(append([]string{l.RunDir(name)}, elem...)...)
}

// Pidfile is locked by QEMU as long as it lives.
func (l Layout) Pidfile(name string) string { return l.run(name, pidfileName) }

// QMPSocket is the monitor that kvmctl itself uses, for a moment at a time and under QMPLock.
func (l Layout) QMPSocket(name string) string { return l.run(name, qmpName) }

// MonitorSocket is the monitor for people.
func (l Layout) MonitorSocket(name string) string { return l.run(name, monName) }

// MonitorLock is held by the person who uses MonitorSocket.
func (l Layout) MonitorLock(name string) string { return l.run(name, monLockName) }

// VNCSocket is the guest's screen, if it is a unix socket.
func (l Layout) VNCSocket(name string) string { return l.run(name, vncDirName, vncSockName) }

// ConsoleSocket is the serial console.
func (l Layout) ConsoleSocket(name string) string { return l.run(name, consoleName) }

// ConsoleLock is held by the console's one writer.
func (l Layout) ConsoleLock(name string) string { return l.run(name, writerName) }

// ConsoleLive is the console's output since the last harvest, written by QEMU.
func (l Layout) ConsoleLive(name string) string { return l.run(name, conDirName, conLogName) }

// AgentSocket leads to the guest agent.
func (l Layout) AgentSocket(name string) string { return l.run(name, agentName) }
