// Package hostcmd is kvmctl's command tree, one file a command.
package hostcmd
