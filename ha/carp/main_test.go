package carp

import "runtime"

// The first thread stays with the main goroutine: /proc/self is that thread's.
func init() { runtime.LockOSThread() }
