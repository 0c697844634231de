package confsync

import (
	"io/fs"
	"os"
	"syscall"
)

func sameOwner(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, also := b.Sys().(*syscall.Stat_t)
	return ok && also && x.Uid == y.Uid && x.Gid == y.Gid
}

// own gives a directory the owner and mode of another one.
func own(dir string, like fs.FileInfo) error {
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		if err := os.Chown(dir, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, like.Mode().Perm()|like.Mode()&(fs.ModeSetgid|fs.ModeSticky))
}

// inode tells a file or directory from any other one of its file system; 0: it is not there.
func inode(path string) uint64 {
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) != nil {
		return 0
	}
	return uint64(st.Ino)
}
