//go:build !linux

package confsync

import "context"

// Watch is for Linux alone up to now: elsewhere a change is found by the whole pass.
func Watch(context.Context, Job, func(lost bool)) error { return errHere }
