package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/internal/atomicfile"
)

// PackageError says that a Debian package could not be had, or is not what we take it for.
type PackageError struct {
	Package string
	Err     error
}

func (e *PackageError) Error() string { return fmt.Sprintf("debian package %s: %v", e.Package, e.Err) }

// Unwrap is the cause.
func (e *PackageError) Unwrap() error { return e.Err }

// Hint is what to type next.
func (e *PackageError) Hint() string {
	return "run `apt-get update` and see whether `apt-get download " + e.Package + "` works"
}

// A deb holds a kernel of about 100 MB unpacked; more than this is not a package of ours.
const maxUnpacked = 1 << 30

// file is a file taken out of a package.
type file struct {
	data []byte
	link string // a symlink's target
}

// store is a directory of downloaded packages with a record of what they are, so that a filled one needs no network.
type store struct {
	dir    string
	record record
}

type record struct {
	Version  int               `json:"version"`
	Packages map[string]string `json:"packages"` // package name → file name in the store
	Kernels  map[string]string `json:"kernels"`  // meta-package → the package with the kernel in it
}

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make package cache: %w", err)
	}
	s := &store{dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, "packages.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read package cache: %w", err)
	case json.Unmarshal(data, &s.record) != nil || s.record.Version != 1:
		s.record = record{} // written by another version: the packages are simply fetched again
	}
	if s.record.Packages == nil || s.record.Kernels == nil {
		s.record = record{Version: 1, Packages: map[string]string{}, Kernels: map[string]string{}}
	}
	return s, nil
}

func (s *store) save() error {
	data, err := json.MarshalIndent(s.record, "", "\t")
	if err != nil {
		return fmt.Errorf("record packages: %w", err)
	}
	return atomicfile.Write(filepath.Join(s.dir, "packages.json"), append(data, '\n'), 0o644)
}

// path is the file of a package that need has fetched.
func (s *store) path(pkg string) string { return filepath.Join(s.dir, s.record.Packages[pkg]) }

// kernel resolves a meta-package such as linux-image-cloud-amd64 to the package that has the kernel in it.
func (s *store) kernel(ctx context.Context, meta string) (string, error) {
	if pkg := s.record.Kernels[meta]; pkg != "" {
		return pkg, nil
	}
	out, err := run(ctx, "", "apt-cache", "depends", meta)
	if err != nil {
		return "", &PackageError{meta, err}
	}
	for line := range strings.Lines(string(out)) {
		if pkg, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			s.record.Kernels[meta] = "linux-image-" + pkg
			return "linux-image-" + pkg, nil
		}
	}
	return "", &PackageError{meta, errors.New("depends on no linux-image package")}
}

// need fetches the packages that are not in the store yet.
func (s *store) need(ctx context.Context, pkgs ...string) error {
	var missing []string
	for _, pkg := range pkgs {
		if _, err := os.Stat(s.path(pkg)); s.record.Packages[pkg] == "" || err != nil {
			missing = append(missing, pkg)
		}
	}
	for _, pkg := range missing {
		if err := s.download(ctx, pkg); err != nil {
			return &PackageError{pkg, err}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return s.save()
}

// download asks apt for one package. Nothing is installed, and no root is needed.
func (s *store) download(ctx context.Context, pkg string) error {
	tmp, err := os.MkdirTemp(s.dir, ".tmp-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	if _, err := run(ctx, tmp, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", pkg); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("apt-get download left %d files", len(found))
	}
	name := filepath.Base(found[0])
	if err := os.Rename(found[0], filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("keep package: %w", err)
	}
	s.record.Packages[pkg] = name
	return nil
}

// depends are the names in a package's Depends and Pre-Depends (e2fsprogs has its libraries there), the first of each set of alternatives.
func (s *store) depends(ctx context.Context, pkg string) (all []string, err error) {
	for _, field := range []string{"Depends", "Pre-Depends"} {
		out, err := run(ctx, "", "dpkg-deb", "-f", s.path(pkg), field)
		if err != nil {
			return nil, &PackageError{pkg, err}
		}
		all = append(all, parseDepends(string(out))...)
	}
	return all, nil
}

// parseDepends reads a Depends field (deb-control(5)): "a (>= 1), b | c, d:any".
func parseDepends(field string) []string {
	var names []string
	for clause := range strings.SplitSeq(field, ",") {
		first, _, _ := strings.Cut(clause, "|")
		words := strings.Fields(first)
		if len(words) == 0 {
			continue
		}
		name, _, _ := strings.Cut(words[0], "(")
		name, _, _ = strings.Cut(name, ":")
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// files reads those files of a package that keep chooses by their path (relative, no "./").
func (s *store) files(ctx context.Context, pkg string, keep func(name string) bool) (map[string]file, error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", s.path(pkg))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, &PackageError{pkg, err}
	}
	if err := cmd.Start(); err != nil {
		return nil, &PackageError{pkg, fmt.Errorf("run dpkg-deb: %w", err)}
	}
	files, readErr := readTar(out, keep)
	if readErr != nil {
		out.Close() // lets dpkg-deb end
	}
	if err := errors.Join(readErr, cmd.Wait()); err != nil {
		return nil, &PackageError{pkg, fmt.Errorf("unpack: %w: %s", err, lastLine(stderr.String()))}
	}
	return files, nil
}

func readTar(r io.Reader, keep func(string) bool) (map[string]file, error) {
	files := map[string]file{}
	limited := &io.LimitedReader{R: r, N: maxUnpacked}
	for t := tar.NewReader(limited); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, limited) // what pads the archive, so that the writer does not die of a closed pipe
			return files, err
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if !keep(name) {
			continue
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if h.Size > limited.N {
				return nil, fmt.Errorf("%s: %d bytes are too many", name, h.Size)
			}
			data := make([]byte, h.Size)
			if _, err := io.ReadFull(t, data); err != nil {
				return nil, err
			}
			files[name] = file{data: data}
		case tar.TypeSymlink:
			files[name] = file{link: h.Linkname}
		}
	}
}

// run executes a program without stdin and returns its stdout; an error carries the last line of stderr.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	return output(cmd)
}

// runInput is run with stdin.
func runInput(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	return output(cmd)
}

func output(cmd *exec.Cmd) ([]byte, error) {
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		name := filepath.Base(cmd.Path)
		if line := lastLine(stderr.String()); line != "" {
			return nil, fmt.Errorf("%s: %w: %s", name, err, line)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return stdout.Bytes(), nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
