// Package agentcmd is kvmha's command tree, one file a command, and the daemon's wiring.
package agentcmd
