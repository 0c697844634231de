// Package accel finds out whether this host's KVM is worth using, by timing a loop in a throw-away guest.
package accel
