package agentcmd

import (
	"path/filepath"

	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/peer"
)

// socketName is the control socket's, below ha.RunDir.
const socketName = "kvmha.sock"

// configPath is the file that the agent reads.
func (a *app) configPath() string {
	if a.config != "" {
		return a.config
	}
	return filepath.Join(a.root, ha.ConfigFile)
}

// statePath is what survives a boot.
func (a *app) statePath() string { return filepath.Join(a.root, ha.StateDir) }

// runPath is what does not.
func (a *app) runPath() string { return filepath.Join(a.root, ha.RunDir) }

// socketPath is where the agent answers.
func (a *app) socketPath() string { return filepath.Join(a.root, ha.RunDir, socketName) }

// auditPath is the record of every change of role.
func (a *app) auditPath() string { return filepath.Join(a.statePath(), "audit.jsonl") }

// keysPath is where the keys of the peer channel are.
func (a *app) keysPath() string { return filepath.Join(a.statePath(), peer.Dir) }

// recordsPath is where the records of an arbiter are.
func (a *app) recordsPath() string { return filepath.Join(a.statePath(), arbiter.Dir) }

// rightPath is where this node keeps whether it may be alone.
func (a *app) rightPath() string { return filepath.Join(a.statePath(), "right") }

// lockPath is held by the agent that runs.
func (a *app) lockPath() string { return filepath.Join(a.runPath(), "lock") }

// keptPath is where what the losers of a split brain had is kept.
func (a *app) keptPath() string { return filepath.Join(a.statePath(), "split-brain") }
