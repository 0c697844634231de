//go:build !linux

package agentcmd

import "kvmctl/ha"

// storageWorld is nothing: DRBD is Linux's.
func (a *app) storageWorld() *ha.StorageWorld { return nil }
