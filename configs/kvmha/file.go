package kvmha

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/arbiter"
)

// Bounds of the files that a kvmha.toml names, in bytes.
const (
	maxPassword = 4096
	maxLook     = arbiter.MaxPEM // of any of them
)

// File is a file's bytes with who may read them.
type File struct {
	Text []byte
	Mode fs.FileMode // permission bits
	UID  uint32      // of its owner
}

var errNotRegular = errors.New("no regular file")

// readFile reads at most one byte more than limit. It does not hang on a FIFO.
func readFile(path string, limit int) (File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	info, err := f.Stat() // of what is open: a name may change meanwhile
	if err != nil {
		return File{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return File{}, errNotRegular
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return File{}, err
	}
	return File{Text: text, Mode: info.Mode().Perm(), UID: st.Uid}, nil
}

// exposed says who else could read or change a file with a secret, and what to type; "" is nobody.
func exposed(path string, f File) (why, fix string) {
	switch {
	case f.UID != 0 && int(f.UID) != os.Geteuid():
		return fmt.Sprintf("belongs to the uid %d, who can read and change it", f.UID), "chown root " + strict.ShellWord(path)
	case f.Mode&0o077 != 0:
		return fmt.Sprintf("has the mode %04o: others can read or change it", f.Mode), "chmod 600 " + strict.ShellWord(path)
	}
	return "", ""
}

// secret reads what the keys `key` and `key_file` below path give; at is the path of the one that gives it, "" when neither does. No message shows it.
func (l *loader) secret(path, key string, inline, file *string) (secret ha.Secret, at string) {
	keyAt, fileAt := path+"."+key, path+"."+key+"_file"
	switch {
	case inline != nil && file != nil:
		l.Key(keyAt, strict.Label(keyAt)+" beside "+key+"_file: which one counts?", "keep "+key+"_file")
	case inline != nil:
		if why, fix := exposed(l.File, l.own); why != "" {
			l.Value(keyAt, fmt.Sprintf("%s stands in a file that %s", strict.Label(keyAt), why), fix+", or use "+key+"_file")
		}
		return ha.NewSecret(*inline), keyAt
	case file != nil:
		name := *file
		if !filepath.IsAbs(name) {
			name = filepath.Join(l.dir, name)
		}
		return l.secretFile(fileAt, key, name), fileAt
	}
	return ha.Secret{}, ""
}

func (l *loader) secretFile(at, key, name string) ha.Secret {
	label := strict.Label(at)
	f, err := l.look(name)
	if err != nil {
		fix := ""
		if errors.Is(err, fs.ErrNotExist) {
			word := strict.ShellWord(name)
			fix = fmt.Sprintf("(umask 077; read -rsp '%s: ' p; echo \"$p\" >%s)", key, word)
		}
		l.Value(at, fmt.Sprintf("%s %s: %s", label, name, strict.Unreadable(name, err).Msg), fix)
		return ha.Secret{}
	}
	if why, fix := exposed(name, f); why != "" {
		l.Value(at, fmt.Sprintf("%s %s %s", label, name, why), fix)
		return ha.Secret{}
	}
	text := strings.TrimRight(string(f.Text), "\r\n")
	switch {
	case len(f.Text) > maxPassword:
		l.Value(at, fmt.Sprintf("%s %s is larger than %d bytes", label, name, maxPassword), "")
	case strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		l.Value(at, fmt.Sprintf("%s %s holds more than one line, or control characters", label, name), "")
	case text == "":
		l.Value(at, fmt.Sprintf("%s %s is empty", label, name), "")
	default:
		return ha.NewSecret(text)
	}
	return ha.Secret{}
}
