// Package cli is what the commands share: the environment they run in, exit codes, errors with hints, tables and JSON.
package cli
