package debguest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Image writes a raw disk image to path: an ext4 file system of the given size (as mke2fs has it: "3G") over the whole disk, with the
// tree in it and what add puts there. add gets the root directory of a copy of the tree, for `make install DESTDIR=…` and its like.
//
// The copy shares its files with the tree: add may make files and replace them, as install(1) and rename(2) do, but must not write
// into one that is there. WriteFile keeps to that.
func (b *Base) Image(ctx context.Context, path, size string, add func(root string) error) error {
	root, err := os.MkdirTemp(filepath.Dir(b.Tree), ".image-") // hard links work within a file system
	if err != nil {
		return fmt.Errorf("make a Debian image: %w", err)
	}
	defer os.RemoveAll(root)
	if err := run(ctx, "cp", "-al", b.Tree+"/.", root); err != nil {
		return fmt.Errorf("make a Debian image: %w", err)
	}
	if add != nil {
		if err := add(root); err != nil {
			return fmt.Errorf("make a Debian image: %w", err)
		}
	}
	if err := run(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, path, size); err != nil {
		return fmt.Errorf("make a Debian image: %w", err)
	}
	return nil
}

// WriteFile puts a file into the root directory that Image gives to add, without touching the tree that it shares files with.
func WriteFile(root, name, text string, perm os.FileMode) error {
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		return err
	}
	return os.Chmod(path, perm) // whatever the umask
}
