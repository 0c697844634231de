// Package vm turns a described guest into a running QEMU and back: its command line, its start, its stop, and what can be known of it at any time without a daemon.
package vm
