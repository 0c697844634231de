package strict

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// Unreadable is the problem of a file that is there and cannot be read.
func Unreadable(file string, err error) Problem {
	// The path is in Problem.File: the error need not repeat it.
	if pe := new(fs.PathError); errors.As(err, &pe) {
		err = pe.Err
	}
	return Problem{File: file, Line: 1, Col: 1, Msg: "cannot be read: " + err.Error()}
}

var errNotRegular = errors.New("no regular file")

// Read reads at most one byte more than MaxFile. It does not hang on a FIFO.
func Read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	text := make([]byte, 0, min(info.Size(), MaxFile)+2)
	for len(text) <= MaxFile {
		if len(text) == cap(text) {
			text = slices.Grow(text, 4096)
		}
		n, err := f.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return text, nil
}
