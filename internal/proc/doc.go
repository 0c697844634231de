// Package proc finds processes by their pidfile or name and keeps hold of them by a pidfd, so that a number that was given to somebody else is never taken for them.
package proc
