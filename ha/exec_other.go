//go:build !linux

package ha

import "time"

// BootID gives ErrSystem.
func BootID() (string, error) { return "", ErrSystem }

// Replace gives ErrSystem.
func Replace(string, []string, []string, *Handover) error { return ErrSystem }

// TakeOver finds nothing.
func TakeOver(time.Time) (*Handover, error) { return nil, nil }
