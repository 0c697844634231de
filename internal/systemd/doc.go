// Package systemd asks the system manager for transient units, and does nothing where systemd is not PID 1.
package systemd
