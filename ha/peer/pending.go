package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kvmctl/internal/atomicfile"
)

// pendingFile keeps the last exchange until a person has compared the words.
const pendingFile = "pending"

// ErrNothingPending says that there is no exchange whose words could be confirmed.
var ErrNothingPending = errors.New("there was no exchange whose words could be compared")

// SavePending keeps an exchange until its words are confirmed; the one before is forgotten.
func SavePending(dir string, in Introduction) error {
	text, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("keep the exchange: %w", err)
	}
	return change(dir, func() error {
		if err := atomicfile.Write(filepath.Join(dir, pendingFile), append(text, '\n'), 0o600); err != nil {
			return fmt.Errorf("keep the exchange: %w", err)
		}
		return nil
	})
}

// Confirm pins the key of the exchange that is kept, if the words are its own. Else it fails with ErrNothingPending or ErrOtherWords, and nothing has
// changed.
func Confirm(dir, typed string) (in Introduction, err error) {
	err = change(dir, func() error {
		in, err = confirm(dir, typed)
		return err
	})
	return in, err
}

func confirm(dir, typed string) (Introduction, error) {
	path := filepath.Join(dir, pendingFile)
	text, err := readOwn(path, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		return Introduction{}, ErrNothingPending
	}
	if err != nil {
		return Introduction{}, err
	}
	var in Introduction
	if json.Unmarshal(text, &in) != nil || in.Key.IsZero() || !ValidName(in.Name) {
		return Introduction{}, ErrNothingPending
	}
	if !in.Same(typed) {
		return in, ErrOtherWords
	}
	if err := savePin(dir, in.Name, Pin{Key: in.Key}); err != nil {
		return in, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return in, fmt.Errorf("forget the exchange: %w", err)
	}
	return in, nil
}
