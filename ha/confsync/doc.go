// Package confsync copies configuration from the active node to a standby: pulled by rsync, staged, validated, swapped in by rename, and undone on request.
package confsync
