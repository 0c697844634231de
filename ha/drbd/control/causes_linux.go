package control

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"kvmctl/ha/drbd"
)

// Causes gives why resources of a state are StandAlone, as the last part of this machine's kernel log tells it (syslog(2), SYSLOG_ACTION_READ_ALL).
func (c *Control) Causes(_ context.Context, s drbd.State) (map[string]drbd.Apart, error) {
	log, err := kernelLog()
	if err != nil {
		return nil, err
	}
	return drbd.ReadLog(log, s.Place), nil
}

// Compared gives how far the last verification of a resource went, likewise.
func (c *Control) Compared(_ context.Context, r drbd.Resource) (drbd.Comparison, error) {
	log, err := kernelLog()
	if err != nil {
		return drbd.NotTold, err
	}
	return drbd.ReadCompared(log, r), nil
}

func kernelLog() ([]byte, error) {
	log := make([]byte, drbd.MaxInput)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's log: %w", err)
	}
	return log[:n], nil
}
