//go:build linux

package arbiter

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// disk is a directory as the kernel has it in memory, and what a power cut may leave of it. It promises no more than POSIX does (fsync(2), rename(2); the
// model is that of Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014): what a file has is sure after its fsync, which name it has after its
// directory's.
type disk struct {
	dir   string
	names map[string]*inode   // as a process sees them; nil: none
	may   map[string][]*inode // what else a power cut may leave under a name, besides names
}

type inode struct {
	text string
	sure bool
}

// newDisk begins with a file as it lies there, and before: what may be there as well until the directory's fsync.
func newDisk(dir string, now, before string) *disk {
	d := &disk{dir: dir, names: map[string]*inode{}, may: map[string][]*inode{}}
	d.names["web.json"] = &inode{now, true}
	if before != now {
		d.may["web.json"] = []*inode{{before, true}}
	}
	return d
}

// link gives a name another file, or none.
func (d *disk) link(name string, to *inode) {
	d.may[name] = append(d.may[name], d.names[name])
	d.names[name] = to
}

var (
	callLine   = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)`)
	quotedText = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	ofFile     = regexp.MustCompile(`^(\d+)<([^>]*)>`)
)

// call is a system call as strace -y writes it.
type call struct {
	name  string
	fd    string
	path  string // of fd
	texts []string
	args  string
}

func parseCall(line string) (c call, ok bool) {
	m := callLine.FindStringSubmatch(line)
	if m == nil || strings.HasPrefix(m[3], "-") {
		return call{}, false
	}
	c = call{name: m[1], args: m[2]}
	if at := ofFile.FindStringSubmatch(c.args); at != nil {
		c.fd, c.path = at[1], at[2]
	}
	for _, q := range quotedText.FindAllString(c.args, -1) {
		text, err := strconv.Unquote(q)
		if err != nil {
			return call{}, false
		}
		c.texts = append(c.texts, text)
	}
	return c, true
}

// name is a path's in the directory; "" where it is elsewhere.
func (d *disk) name(path string) string {
	if filepath.Dir(path) != d.dir {
		return ""
	}
	return filepath.Base(path)
}

// does does what a call did. What it does not know and could change the directory is an error.
func (d *disk) does(c call) error {
	switch {
	case c.name == "openat" && len(c.texts) == 1 && strings.Contains(c.args, "O_CREAT"):
		if name := d.name(c.texts[0]); name != "" && d.names[name] == nil {
			d.link(name, &inode{})
		}
		fallthrough
	case c.name == "openat" && len(c.texts) == 1:
		if name := d.name(c.texts[0]); name != "" && strings.Contains(c.args, "O_TRUNC") {
			*d.names[name] = inode{}
		}
	case slices.Contains([]string{"write", "fsync", "fdatasync"}, c.name) && c.path == d.dir:
		d.may = map[string][]*inode{}
	case slices.Contains([]string{"write", "fsync", "fdatasync"}, c.name) && d.name(c.path) != "":
		file := d.names[d.name(c.path)]
		if file == nil {
			return fmt.Errorf("%s of a file that is not there: %s", c.name, c.args)
		}
		file.sure = c.name != "write"
		if !file.sure {
			file.text += c.texts[0]
		}
	case slices.Contains([]string{"rename", "renameat", "renameat2"}, c.name) && len(c.texts) == 2:
		if from, to := d.name(c.texts[0]), d.name(c.texts[1]); from != "" && to != "" {
			d.link(to, d.names[from])
			d.link(from, nil)
		}
	case strings.HasPrefix(c.name, "unlink") && len(c.texts) == 1:
		if name := d.name(c.texts[0]); name != "" {
			d.link(name, nil)
		}
	case slices.Contains([]string{"write", "fchmod", "newfstatat", "readlinkat", "faccessat", "faccessat2", "execve", "access", "readlink", "getcwd"}, c.name):
	case strings.Contains(c.args, d.dir):
		return fmt.Errorf("the model does not know this call: %s(%s)", c.name, c.args)
	}
	return nil
}

// missing is a name that is not there.
const missing = "(missing)"

// after gives what may lie under the record's name after a kill, and after a power cut.
func (d *disk) after(power bool) (all []string) {
	files := []*inode{d.names["web.json"]}
	if power {
		files = append(files, d.may["web.json"]...)
	}
	left := map[string]bool{}
	for _, f := range files {
		switch {
		case f == nil:
			left[missing] = true
		case power && !f.sure: // data that no fsync brought to the disk: all, some, zeros, nothing
			left[f.text], left[f.text[:len(f.text)/2]], left[strings.Repeat("\x00", len(f.text))], left[""] = true, true, true, true
		default:
			left[f.text] = true
		}
	}
	return slices.Sorted(maps.Keys(left))
}

// finds says what is wrong with what was left: the arbiter that comes back has to know all that was said, and at most one number more.
func finds(t *testing.T, left string, said uint64) error {
	dir := t.TempDir()
	if left != missing {
		if err := os.WriteFile(filepath.Join(dir, "web.json"), []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := open(t, dir, pair).Look(t.Context(), "web")
	if err != nil || r.N != said && r.N != said+1 {
		return fmt.Errorf("number %d was said to be won, and the record is %v (%v)", said, r, err)
	}
	return nil
}

// trace runs the process that wins until it has said some numbers, and gives the calls that it did in the order in which it did them.
func trace(t *testing.T, dir, environment string, numbers int) (calls []call) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	to := filepath.Join(t.TempDir(), "trace")
	// One file a thread: no call is then written in two halves. -y gives the path of a descriptor.
	cmd, out := start(t, dir, "strace", "-ff", "-y", "-s", "4096", "-o", to, "-E", environment, "-e", "trace=file,write,writev,pwrite64,fsync,fdatasync,ftruncate,fallocate,sendfile,copy_file_range")
	defer context.AfterFunc(ctx, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })()
	for range numbers {
		if !out.Scan() {
			t.Fatalf("it said no number: %v", ctx.Err())
		}
	}
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	_ = cmd.Wait()
	files, err := filepath.Glob(to + ".*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var own []call
		lines, mine := bufio.NewScanner(f), false
		for lines.Scan() {
			if c, ok := parseCall(lines.Text()); ok {
				own, mine = append(own, c), mine || strings.HasPrefix(c.path, dir+"/")
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		switch {
		case mine && calls != nil:
			t.Fatal("more than one thread wrote: their order is not known")
		case mine:
			calls = own
		}
	}
	return calls
}

// TestPowerCut takes the calls of a process that wins one number after the other, and cuts the power, or kills it, after each of them: whatever may lie on
// the disk then, the arbiter that comes back knows each number that was said to be won.
func TestPowerCut(t *testing.T) {
	testenv.Need(t, testenv.Netns, "strace")
	for name, before := range map[string]func(now Record) Record{
		"after the first": func(now Record) Record { return now },
		// The process before was killed between its rename and the directory's fsync: the same request is then asked again, and answered.
		"asked again": func(Record) Record { return Record{Group: pair.Name, Holder: "b", N: 6, ID: id(6)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			now := Record{Group: pair.Name, Holder: "a", N: 7, ID: id(7)}
			text, err := now.seal()
			if err != nil {
				t.Fatal(err)
			}
			old, err := before(now).seal()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "web.json"), text, 0o600); err != nil {
				t.Fatal(err)
			}
			environment := repeat + "="
			if string(old) != string(text) {
				environment += "1"
			}
			d, said, cuts := newDisk(dir, string(text), string(old)), before(now).N, 0
			for _, c := range trace(t, dir, environment, 5) {
				if err := d.does(c); err != nil {
					t.Fatal(err)
				}
				if c.name == "write" && c.fd == "1" {
					if said, err = strconv.ParseUint(strings.TrimSpace(c.texts[0]), 10, 64); err != nil {
						t.Fatal(err)
					}
				}
				for _, power := range []bool{false, true} {
					for _, left := range d.after(power) {
						cuts++
						if err := finds(t, left, said); err != nil {
							t.Fatalf("after %s(%.80s), power %v: %v", c.name, c.args, power, err)
						}
					}
				}
			}
			if said < now.N+3 || cuts < 50 {
				t.Errorf("it went as far as number %d, with %d cuts", said, cuts)
			}
		})
	}
}
