//go:build !linux

package confsync

import (
	"errors"
	"fmt"
	"syscall"
)

var errHere = fmt.Errorf("sync on this system: %w", errors.ErrUnsupported)

func exchange(string, string) error { return errHere }

func flush(string) error { return errHere }

func apart(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
