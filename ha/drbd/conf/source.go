package conf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Bounds of what is read.
const (
	maxDepth      = 10 // of includes, as drbdadm
	maxFiles      = 1000
	maxFile       = 1 << 20 // bytes
	maxTotal      = 4 << 20 // bytes
	maxStatements = 1 << 15
	maxProblems   = 100
	maxResources  = 2000
	maxVolumes    = 256 // of a resource or host
	maxHosts      = 64  // of a resource; connections too
	maxOptions    = 256 // of a resource, host or volume
)

// Source is where files come from. Names are absolute, with slashes.
type Source interface {
	// Read gives a regular file of up to limit bytes, and its permission bits; 0: not known. What is not there is fs.ErrNotExist.
	Read(name string, limit int64) (text []byte, mode uint32, err error)
	// Glob gives the names that match, sorted (glob(7)); nothing that begins with a dot unless the pattern says so.
	Glob(pattern string) ([]string, error)
}

// ErrTooLong says that a file, or all of them, hold more than is read.
var ErrTooLong = errors.New("too long")

var errNotRegular = errors.New("no regular file")

// Dir reads below a directory; "" is the machine's own root.
type Dir string

// Read reads a file and waits for no FIFO.
func (d Dir) Read(name string, limit int64) ([]byte, uint32, error) {
	f, err := os.OpenFile(filepath.Join(string(d)+"/", name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, &fs.PathError{Op: "read", Path: name, Err: errNotRegular}
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = tooLong(name, limit)
	}
	return text, uint32(info.Mode().Perm()), err
}

func tooLong(name string, limit int64) error {
	return &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: more than %d bytes", ErrTooLong, limit)}
}

// Glob gives the names below the directory that match.
func (d Dir) Glob(pattern string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(string(d)+"/", pattern))
	for i := range all {
		all[i] = "/" + strings.TrimPrefix(strings.TrimPrefix(all[i], string(d)), "/")
	}
	return visible(pattern, all), err
}

// Memory has the files of another machine: their texts by absolute name.
type Memory map[string][]byte

// Read gives a text.
func (m Memory) Read(name string, limit int64) ([]byte, uint32, error) {
	switch text, ok := m[name]; {
	case !ok:
		return nil, 0, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	case int64(len(text)) > limit:
		return nil, 0, tooLong(name, limit)
	default:
		return text, 0, nil
	}
}

// Glob gives the names that match.
func (m Memory) Glob(pattern string) (all []string, err error) {
	for name := range m {
		ok, err := path.Match(pattern, name)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return visible(pattern, all), nil
}

// visible leaves out what begins with a dot where the pattern does not.
func visible(pattern string, all []string) []string {
	want := strings.Split(pattern, "/")
	return slices.DeleteFunc(all, func(name string) bool {
		for i, part := range strings.Split(name, "/") {
			if strings.HasPrefix(part, ".") && (i >= len(want) || !strings.HasPrefix(want[i], ".")) {
				return true
			}
		}
		return false
	})
}

// Recorder keeps the texts that were read, so that another machine can read the same from a Memory.
type Recorder struct {
	Source
	Texts Memory
}

// Read reads and keeps.
func (r *Recorder) Read(name string, limit int64) ([]byte, uint32, error) {
	text, mode, err := r.Source.Read(name, limit)
	if err == nil {
		if r.Texts == nil {
			r.Texts = Memory{}
		}
		r.Texts[name] = text
	}
	return text, mode, err
}

// include reads the files of an include statement, relative to the file that has it.
func (p *parser) include(from string, pattern Value) error {
	if pattern.Text == "" {
		return &Error{At: pattern.At, Why: "an include without a file"}
	}
	full := pattern.Text
	if !path.IsAbs(full) {
		full = path.Join(path.Dir(from), full)
	}
	full = path.Clean(full)
	list := []string{full}
	if strings.ContainsAny(full, "*?[") {
		var err error
		if list, err = p.source.Glob(strings.ReplaceAll(full, "[!", "[^")); err != nil {
			return &Error{At: pattern.At, Why: "an include with a pattern that is none"}
		}
	}
	for _, name := range list {
		if err := p.file(name, pattern.At); err != nil {
			return err
		}
	}
	return nil
}

// file parses a file unless it was before, as drbdadm does; from is the include that named it, the zero Position for the first.
func (p *parser) file(name string, from Position) error {
	if p.seen[name] {
		return nil
	}
	p.seen[name] = true
	wrong := func(err error) error {
		pe, ok := errors.AsType[*fs.PathError](err)
		switch {
		case from.IsZero() && ok:
			return &Error{At: Position{File: p.label + name}, Why: pe.Err.Error(), err: err}
		case from.IsZero():
			return &Error{At: Position{File: p.label + name}, Why: err.Error(), err: err}
		case ok: // without the root of a Dir
			return &Error{At: from, Why: fmt.Sprintf("read %s: %v", p.label+name, pe.Err), err: err}
		}
		return &Error{At: from, Why: err.Error(), err: err}
	}
	switch {
	case len(p.c.Files) >= maxFiles:
		return wrong(fmt.Errorf("more than %d files: %w", maxFiles, ErrTooLong))
	case p.depth >= maxDepth:
		return wrong(fmt.Errorf("includes nested more than %d deep: %w", maxDepth, ErrTooLong))
	}
	text, mode, err := p.source.Read(name, min(maxFile, maxTotal-p.total))
	if err != nil {
		return wrong(err)
	}
	p.total += int64(len(text))
	p.c.Files = append(p.c.Files, File{p.label + name, mode})
	outer := p.lexer
	p.lexer = lexer{text: string(text), file: p.label + name, line: 1, private: p.shared.file(name)}
	p.depth++
	err = p.top(name)
	p.depth--
	p.lexer = outer
	return err
}
