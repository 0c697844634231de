// Package unit starts, stops and asks what a group runs: units of systemd, scripts of /etc/init.d, and commands.
package unit
