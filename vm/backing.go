package vm

import (
	"fmt"
	"os"
	"path/filepath"
)

// BackingError refuses a file that an image names as its backing file. Whoever made the image chose the name, and root opens it for the
// guest: without a rule a downloaded image could ask for /etc/shadow or a disk of the host.
type BackingError struct{ Image, Backing string }

func (e *BackingError) Error() string {
	return fmt.Sprintf("it is based on %s, which is neither beside it nor readable by everybody", e.Backing)
}

// Hint says how to allow it, if it is meant.
func (e *BackingError) Hint() string {
	return fmt.Sprintf("if that is meant: chmod o+r %s, or move it to %s", e.Backing, filepath.Dir(e.Image))
}

// Refused marks the error as a refusal for safety.
func (e *BackingError) Refused() bool { return true }

// BackingAllowed is the rule for those who open an image that no guest starts with.
func BackingAllowed(image, backing string) error { return backingAllowed(image, backing) }

// backingAllowed lets an image be based on what lies in its own directory, and elsewhere on regular files that everybody may read: no
// guest gets to see by this what a user of the host could not.
func backingAllowed(image, backing string) error {
	refused := &BackingError{Image: image, Backing: backing}
	st, err := os.Stat(backing)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return refused
	}
	if st.Mode().Perm()&0o004 != 0 {
		return nil
	}
	home, err := filepath.EvalSymlinks(filepath.Dir(image))
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(backing)
	if err != nil {
		return err
	}
	if filepath.Dir(real) != home {
		return refused
	}
	return nil
}
