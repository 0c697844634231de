package configs

import (
	"fmt"
	"strings"

	"kvmctl/configs/strict"
)

// A qemu_args option is refused when it would break a promise that kvmctl makes about every guest. Options that only add
// or tune (-device, -cpu, -netdev, -chardev, -object, -global, -gdb, -trace, …) are the admin's own business.
var refusedArgs = map[string]string{
	// Who the process is, and how it is found.
	"daemonize":      "the process that kvmctl started would not be the guest",
	"pidfile":        "the lock on kvmctl's own pidfile is how a guest is found",
	"runas":          "the guest already runs as a user of its own",
	"chroot":         "kvmctl's files come as descriptors, and their /proc paths would be gone",
	"run-with":       "it changes the user, the root or the end of the process",
	"async-teardown": "a second process would stay behind when the guest ends",
	"sandbox":        "kvmctl sets the sandbox, and a second one could open it",
	"readconfig":     "the file could hold any of the refused options",
	"writeconfig":    "QEMU would write a file of your choice instead of running the guest",
	"add-fd":         "the numbers of the descriptor sets are kvmctl's",
	"qtest":          "whoever holds its socket holds the guest, past the recorder",
	"qtest-log":      "it goes with -qtest",
	"dump-vmstate":   "QEMU would write a file and end",

	// Start and stop, and what the log says of them.
	"S":           "kvmctl starts the guest once its recorder is on: it would stay paused",
	"preconfig":   "QEMU would wait for a command before there is a machine",
	"incoming":    "the guest would wait for a migration instead of booting",
	"loadvm":      "every start would go back to the snapshot and lose what was written since",
	"snapshot":    "what the guest writes would be lost at its end",
	"no-shutdown": "QEMU would stay when the guest has shut down, and the guest never be stopped",
	"no-reboot":   "a reboot inside the guest would end it",
	"action":      "it decides what a shutdown, a reboot and a panic do, and kvmctl relies on all three (-watchdog-action is allowed)",

	// Monitors, screen and logs.
	"qmp":        "kvmctl's monitors are `kvmctl monitor --qmp`",
	"qmp-pretty": "kvmctl's monitors are `kvmctl monitor --qmp`",
	"mon":        "kvmctl's monitors are `kvmctl monitor`",
	"monitor":    "kvmctl's monitors are `kvmctl monitor`",
	"nographic":  "it puts a monitor and the console on a terminal that is not there",
	"serial":     "the serial port is kvmctl's console and its bounded log (-device isa-serial adds another)",
	"vnc":        "two guests could take one display: use [vnc]",
	"D":          "the log would grow without bound: -d alone writes to kvmctl's bounded one",

	// What a key of this file or the ABI lock decides: two answers would make one of them wrong.
	"m":          "use memory and memory_max",
	"smp":        "use cpus and cpus_max",
	"accel":      "use accel",
	"enable-kvm": "use accel",
	"uuid":       "the guest's UUID is in its ABI lock and never changes",
	"M":          "use machine",
}

// refusedValues refuses an option with some values only: the beginning of the value, and why.
var refusedValues = map[string][]struct{ prefix, why string }{
	"parallel": {{"mon:", "mon: makes a monitor: kvmctl's are `kvmctl monitor`"}},
	"debugcon": {{"mon:", "mon: makes a monitor: kvmctl's are `kvmctl monitor`"}},
	"display": {
		{"vnc", "two guests could take one display: use [vnc]"},
		{"curses", "it needs a terminal that is not there"},
	},
	"set": {
		{"chardev.", "it could turn off the recorder or the console's log"},
		{"mon.", "it could turn off the recorder"},
	},
	"machine": {
		{"type=", "use machine"},
		{"q35", "use machine"},
		{"pc", "use machine"},
		{"accel=", "use accel"},
	},
}

// machineValue finds in the value of -machine what only its beginning was searched for: QEMU takes keys in any order. A doubled comma
// is one of the value's own.
func machineValue(arg string) (why string, bad bool) {
	for _, part := range strings.Split(strings.ReplaceAll(arg, ",,", "\x00"), ",") {
		for _, r := range refusedValues["machine"] {
			if strings.HasSuffix(r.prefix, "=") && strings.HasPrefix(part, r.prefix) {
				return r.why, true
			}
		}
	}
	return "", false
}

// checkQEMUArgs refuses what would break a promise, at the array's element. Every element that looks like an option is
// taken as one: that may refuse an odd value, and never lets an option through as one.
func checkQEMUArgs(d *strict.Document, args []string) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") && !d.Bad["qemu_args[0]"] {
		d.Value("qemu_args[0]", fmt.Sprintf("qemu_args begins with %q, which QEMU would take as a disk image", args[0]), "")
	}
elements:
	for i, arg := range args {
		path := strict.Element("qemu_args", i)
		// QEMU takes one dash or two and knows no "="; refusing -x=y too says more than its own "invalid option".
		name, isOption := optionName(arg)
		if why, ok := refusedArgs[name]; ok && isOption {
			d.Value(path, fmt.Sprintf("qemu_args must not have -%s: %s", name, why), "")
			continue
		}
		if i == 0 {
			continue
		}
		option, isOption := optionName(args[i-1])
		for _, r := range refusedValues[option] {
			if isOption && strings.HasPrefix(arg, r.prefix) {
				d.Value(path, fmt.Sprintf("qemu_args must not have -%s %s: %s", option, arg, r.why), "")
				continue elements
			}
		}
		if why, bad := machineValue(arg); bad && isOption && option == "machine" {
			d.Value(path, fmt.Sprintf("qemu_args must not have -%s %s: %s", option, arg, why), "")
		}
	}
}

func optionName(arg string) (string, bool) {
	name, ok := strings.CutPrefix(arg, "-")
	name = strings.TrimPrefix(name, "-")
	name, _, _ = strings.Cut(name, "=")
	return name, ok && name != ""
}
