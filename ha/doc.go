// Package ha is the agent of one node: the valid values of /etc/kvmha.toml, and the runtime that owns sockets, timers and files and executes what the machines below it decide.
package ha
