package confsync

import (
	"io/fs"
	"os"
	"syscall"
)

func sameOwner(a, b fs.FileInfo) bool {
	u, g := owner(a)
	v, h := owner(b)
	return u == v && g == h
}

// owner gives the numbers of a file's user and group; -1: nobody knows.
func owner(info fs.FileInfo) (uid, gid int) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return -1, -1
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
