package qmp

import (
	"context"
	"time"
)

// Deadlines that hold when the caller's context has none.
const (
	handshakeTimeout = time.Second            // greeting and qmp_capabilities: a monitor that is free greets within milliseconds
	queryTimeout     = 500 * time.Millisecond // whatever is not in the table
	blockTimeout     = 5 * time.Second        // waits for the block layer: jobs, and queries that take a node's lock
	dumpTimeout      = 10 * time.Second       // screendump writes a file
	slowTimeout      = 30 * time.Second       // realizes or drains devices, flushes all disks, or hides another command
)

// timeouts is per command, not one number: one silent QEMU without any hung a whole host's list of guests (lxc/incus#3558), and one short
// number for all breaks slow commands on healthy hosts (lxc/incus#3576, #3577, #3712). The classes and their figures are those of lxc/incus;
// the members were filled in from QEMU 7.2's qapi. dump-guest-memory without detach and memsave know no bound: give a context a deadline.
var timeouts = map[string]time.Duration{
	"block-commit": blockTimeout, "block-stream": blockTimeout, "block-dirty-bitmap-add": blockTimeout,
	"block-dirty-bitmap-merge": blockTimeout, "block-dirty-bitmap-remove": blockTimeout,
	"block-job-cancel": blockTimeout, "block-job-complete": blockTimeout, "block-job-dismiss": blockTimeout,
	"block-job-finalize": blockTimeout, "block-job-pause": blockTimeout, "block-job-resume": blockTimeout,
	"block-job-set-speed": blockTimeout, "blockdev-backup": blockTimeout, "blockdev-create": blockTimeout,
	"blockdev-mirror": blockTimeout, "drive-backup": blockTimeout, "drive-mirror": blockTimeout,
	"job-cancel": blockTimeout, "job-complete": blockTimeout, "job-dismiss": blockTimeout, "job-finalize": blockTimeout,
	"job-pause": blockTimeout, "job-resume": blockTimeout, "snapshot-save": blockTimeout, "snapshot-load": blockTimeout,
	"snapshot-delete": blockTimeout, "nbd-server-start": blockTimeout, "nbd-server-stop": blockTimeout,
	"block-export-add": blockTimeout, "block-export-del": blockTimeout, "block_set_io_throttle": blockTimeout,
	"query-block": blockTimeout, "query-blockstats": blockTimeout, "query-block-jobs": blockTimeout,
	"query-jobs": blockTimeout, "query-named-block-nodes": blockTimeout, "query-qmp-schema": blockTimeout,

	"screendump": dumpTimeout,

	"device_add": slowTimeout, "device_del": slowTimeout, "netdev_add": slowTimeout, "netdev_del": slowTimeout,
	"object-add": slowTimeout, "object-del": slowTimeout, "chardev-add": slowTimeout, "chardev-remove": slowTimeout,
	"stop": slowTimeout, "cont": slowTimeout, "system_reset": slowTimeout,
	"blockdev-add": slowTimeout, "blockdev-del": slowTimeout, "blockdev-reopen": slowTimeout, "block_resize": slowTimeout,
	"blockdev-change-medium": slowTimeout, "blockdev-insert-medium": slowTimeout, "blockdev-remove-medium": slowTimeout,
	"blockdev-open-tray": slowTimeout, "blockdev-close-tray": slowTimeout, "eject": slowTimeout,
	"blockdev-snapshot": slowTimeout, "blockdev-snapshot-sync": slowTimeout, "transaction": slowTimeout,
	"migrate": slowTimeout, "migrate-incoming": slowTimeout, "dump-guest-memory": slowTimeout,
	"memsave": slowTimeout, "pmemsave": slowTimeout, "human-monitor-command": slowTimeout,
}

// CommandTimeout is how long Execute waits for cmd when its context has no deadline.
func CommandTimeout(cmd string) time.Duration {
	if d, ok := timeouts[cmd]; ok {
		return d
	}
	return queryTimeout
}

// withTimeout gives ctx a deadline d from now unless it has one.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}
