package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"kvmctl/internal/runner"
	"kvmctl/internal/runner/runnertest"
	"kvmctl/internal/units"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// writeFile puts content at dir/name and gives the path.
func writeFile(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// overlay is a qcow2 file on backing of format; empty format: none written.
func overlay(backing, format string) []byte {
	return qcow2(func(b []byte) {
		backed(b, backing, 512)
		if format != "" {
			extension(b, 112, extBackingFormat, format)
		}
	})
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestChainFollowsBackingFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "real/sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real/sub", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	base := writeFile(t, dir, "real/base.img", make([]byte, 4096))
	mid := writeFile(t, dir, "real/sub/mid.qcow2", overlay("../base.img", "raw")) // leads to real/, not to dir
	top := writeFile(t, dir, "top.qcow2", overlay("file:link/mid.qcow2", "qcow2"))
	colon := writeFile(t, dir, "colon.qcow2", overlay("./a:b.img", "raw"))
	writeFile(t, dir, "a:b.img", make([]byte, 512))
	tests := []struct {
		name         string
		path, format string
		want         []string
	}{
		{"raw", base, Raw, []string{base + " raw 4096"}},
		{"one overlay", mid, QCOW2, []string{mid + " qcow2 1073741824", dir + "/real/sub/../base.img raw 4096"}},
		{"two, one by a symlinked directory", top, QCOW2, []string{top + " qcow2 1073741824", dir + "/link/mid.qcow2 qcow2 1073741824", dir + "/link/../base.img raw 4096"}},
		{"a colon behind a slash is a path", colon, QCOW2, []string{colon + " qcow2 1073741824", dir + "/./a:b.img raw 512"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			links, err := Chain(t.Context(), tt.path, tt.format)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range links {
				got = append(got, fmt.Sprintf("%s %s %d", l.Path, l.Format, l.Header.VirtualSize))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("chain (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChainRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	add := func(name string, content []byte) string { return writeFile(t, dir, name, content) }
	raw, vmdk := add("disk.img", make([]byte, 512)), add("disk.vmdk", []byte("KDMV"))
	plain := add("plain.qcow2", qcow2(func([]byte) {}))
	luks := add("luks.img", append([]byte("LUKS\xba\xbe"), make([]byte, 506)...))
	if err := unix.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"loop1": "loop2", "loop2": "loop1"} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: at("socket")}); err != nil {
		t.Fatal(err)
	}
	add("d15.qcow2", overlay("d16.qcow2", "qcow2"))
	for i := range 15 {
		add(fmt.Sprintf("d%d.qcow2", i), overlay(fmt.Sprintf("d%d.qcow2", i+1), "qcow2"))
	}
	feature := func(bits byte) []byte { return qcow2(func(b []byte) { b[79] = bits }) }

	type pathError = *fs.PathError
	tests := []struct {
		name         string
		path, format string
		is           error // errors.Is
		message      string
		hint         string
	}{
		{"missing", at("none"), QCOW2, fs.ErrNotExist, "open image: open " + at("none") + ": no such file or directory", ""},
		{"a directory", dir, Raw, nil, "image " + dir + ": is a directory, not a file", ""},
		{"a FIFO", at("fifo"), Raw, nil, "image " + at("fifo") + ": is a FIFO, not a file", ""},
		{"a socket", at("socket"), Raw, nil, "image " + at("socket") + ": is a socket, not a file", ""},
		{"a character device", "/dev/zero", Raw, nil, "image /dev/zero: is a character device, not a file", ""},
		{"a symlink loop", at("loop1"), Raw, unix.ELOOP, "open image: open " + at("loop1") + ": too many levels of symbolic links", ""},
		{"vmdk, not qcow2", vmdk, QCOW2, nil, "image " + vmdk + ": is vmdk, not qcow2", "kvmctl image convert " + vmdk + " NEW.qcow2"},
		{"raw, not qcow2", raw, QCOW2, nil, "image " + raw + ": is raw, not qcow2", `set format = "raw", or give an image that is qcow2`},
		{"qcow2, not raw", plain, Raw, nil, "image " + plain + ": is qcow2, not raw",
			`if you made it as qcow2 yourself, set format = "qcow2"; if not, its guest wrote that header: leave it raw and ask why`},
		{"luks, not qcow2", luks, QCOW2, nil, "image " + luks + ": is luks, not qcow2", ""},
		{"a format of no guest of ours", vmdk, "vmdk", nil, "image " + vmdk + `: format "vmdk": want qcow2 or raw`, "kvmctl image convert " + vmdk + " NEW.qcow2"},
		{"no format", raw, "", nil, "image " + raw + `: format "": want qcow2 or raw`, ""},
		{"a broken header", add("broken.qcow2", []byte("QFI\xfb")), QCOW2, nil, "image " + at("broken.qcow2") + ": broken qcow2 header: 4 bytes, want 72", ""},
		{"corrupt", add("corrupt.qcow2", feature(2)), QCOW2, nil, "image " + at("corrupt.qcow2") + ": is marked corrupt", "kvmctl image check --repair " + at("corrupt.qcow2")},
		{"external data", add("ext.qcow2", feature(4)), QCOW2, nil, "image " + at("ext.qcow2") + ": keeps its data in another file, \"\": not supported", ""},
		{"a feature of the future", add("new.qcow2", feature(0x40)), QCOW2, nil, "image " + at("new.qcow2") + ": made by a newer QEMU: unknown incompatible features 0x40", ""},
		{"encrypted", add("enc.qcow2", qcow2(func(b []byte) { b[35] = 1 })), QCOW2, nil, "image " + at("enc.qcow2") + ": is encrypted: not supported", ""},
		{"its own backing file", add("self.qcow2", overlay("self.qcow2", "qcow2")), QCOW2, nil, "image " + at("self.qcow2") + ": is its own backing file, over " + at("self.qcow2"), ""},
		{"too deep", at("d0.qcow2"), QCOW2, nil, "image " + at("d0.qcow2") + ": more than 16 images on one another", ""},
		{"a backing file that is missing", add("orphan.qcow2", overlay("none", "raw")), QCOW2, fs.ErrNotExist,
			"backing file of " + at("orphan.qcow2") + ": open image: open " + at("none") + ": no such file or directory", ""},
		{"a backing file of another format", add("wrong.qcow2", overlay("disk.img", "qcow2")), QCOW2, nil,
			"backing file of " + at("wrong.qcow2") + ": image " + raw + ": is raw, not qcow2", `set format = "raw", or give an image that is qcow2`},
		{"no backing format", add("guess.qcow2", overlay("disk.img", "")), QCOW2, nil, "image " + at("guess.qcow2") + `: does not say of which format its backing file "disk.img" is`,
			"qemu-img rebase -u -f qcow2 -F FORMAT -b disk.img " + at("guess.qcow2")},
		{"a URL", add("nbd.qcow2", overlay("nbd:host:1", "raw")), QCOW2, nil, "image " + at("nbd.qcow2") + `: backing file "nbd:host:1" is no path: not supported`, ""},
		{"a description in JSON", add("json.qcow2", overlay(`json:{"driver":"null-co"}`, "raw")), QCOW2, nil,
			"image " + at("json.qcow2") + `: backing file "json:{\"driver\":\"null-co\"}" is no path: not supported`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			links, err := Chain(t.Context(), tt.path, tt.format)
			if err == nil || links != nil {
				t.Fatalf("got %v, %v", links, err)
			}
			if diff := cmp.Diff(tt.message, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			var pe pathError
			if tt.is == nil && errors.As(err, &pe) {
				t.Errorf("an error without a type: %v", err)
			}
			hint := ""
			var h interface{ Hint() string }
			if errors.As(err, &h) {
				hint = h.Hint()
			}
			if diff := cmp.Diff(tt.hint, hint); diff != "" {
				t.Errorf("hint (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("but not what a guest made of its raw disk", func(t *testing.T) {
		links, err := Chain(t.Context(), luks, Raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Link{{luks, Raw, Header{Format: Raw, VirtualSize: 512}}}, links); diff != "" {
			t.Errorf("chain (-want +got):\n%s", diff)
		}
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Chain(ctx, raw, Raw); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCreateRefusesBeforeAnythingRuns(t *testing.T) {
	dir := t.TempDir()
	taken := writeFile(t, dir, "taken.img", []byte("precious"))
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(dir, "fresh.img")
	before := names(t, dir)
	tests := []struct {
		name string
		give CreateOptions
		want string
	}{
		{"no path", CreateOptions{Format: Raw, Size: 512}, "image: empty path"},
		{"another format", CreateOptions{Path: fresh, Format: "vmdk", Size: 512}, `image format "vmdk": want qcow2 or raw`},
		{"no size", CreateOptions{Path: fresh, Format: Raw}, "disk size 0: want a multiple of 512 bytes, up to 64T"},
		{"negative size", CreateOptions{Path: fresh, Format: Raw, Size: -512}, "disk size -512: want a multiple of 512 bytes, up to 64T"},
		{"part of a sector", CreateOptions{Path: fresh, Format: Raw, Size: 513}, "disk size 513: want a multiple of 512 bytes, up to 64T"},
		{"65T", CreateOptions{Path: fresh, Format: Raw, Size: 65 * units.TiB}, "disk size 65T: want a multiple of 512 bytes, up to 64T"},
		{"unknown preallocation", CreateOptions{Path: fresh, Format: Raw, Size: 512, Preallocation: "some"}, `preallocation "some": want off, metadata, falloc or full`},
		{"metadata of raw", CreateOptions{Path: fresh, Format: Raw, Size: 512, Preallocation: PreallocMetadata}, "preallocation metadata: a raw image has none; want off, falloc or full"},
		{"raw on a backing file", CreateOptions{Path: fresh, Format: Raw, Size: 512, Backing: "taken.img", BackingFormat: Raw}, "a raw image cannot have a backing file"},
		{"backing file of no format", CreateOptions{Path: fresh, Format: QCOW2, Backing: "taken.img"}, `backing format "": want qcow2 or raw`},
		{"format of no backing file", CreateOptions{Path: fresh, Format: QCOW2, Size: 512, BackingFormat: Raw}, "a backing format without a backing file"},
		{"preallocation on a backing file", CreateOptions{Path: fresh, Format: QCOW2, Size: 512, Preallocation: PreallocFull, Backing: "taken.img", BackingFormat: Raw}, "preallocation full: not together with a backing file"},
		{"backing file missing", CreateOptions{Path: fresh, Format: QCOW2, Backing: "none", BackingFormat: Raw}, "backing file: open image: open " + dir + "/none: no such file or directory"},
		{"exists", CreateOptions{Path: taken, Format: Raw, Size: 512}, "image " + taken + ": exists already, and is left alone"},
		{"exists as a symlink to nothing", CreateOptions{Path: dangling, Format: Raw, Size: 512}, "image " + dangling + ": exists already, and is left alone"},
		{"no directory", CreateOptions{Path: dir + "/none/x.img", Format: Raw, Size: 512}, "open directory: open " + dir + "/none: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Tool{Runner: runnertest.New(t)}.Create(t.Context(), tt.give, nil)
			if err == nil {
				t.Fatal("created")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, names(t, dir)); diff != "" {
				t.Errorf("directory (-before +after):\n%s", diff)
			}
		})
	}
}

// The real errors of a command that fails, is killed, or whose target appears meanwhile: nothing is left, nothing replaced.
func TestCreateLeavesNothingWhenItFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.img")
	create := []string{"/opt/qemu-img", "create", "-q", "-f", "raw", "-o", "preallocation=off", dir + "/.kvmctl-*.part", "1024"}
	write := func(argv []string) error { return os.WriteFile(argv[7], make([]byte, 1024), 0o600) }
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	tests := []struct {
		name  string
		ctx   context.Context
		reply runnertest.Reply
		check func(error) bool
		want  []string
	}{
		{"fails", t.Context(), runnertest.Reply{Argv: create, Do: write, Exit: 1, Stderr: "qemu-img: warning: hm\nqemu-img: " + dir + "/x: No space left on device\n"},
			func(err error) bool {
				return err.Error() == "qemu-img create: "+dir+"/x: No space left on device (exit 1)"
			}, nil},
		{"cannot run", t.Context(), runnertest.Reply{Argv: create, Err: fs.ErrNotExist},
			func(err error) bool { return errors.Is(err, fs.ErrNotExist) }, nil},
		{"removes its file", t.Context(), runnertest.Reply{Argv: create, Do: func(argv []string) error { return os.Remove(argv[7]) }},
			func(err error) bool { return errors.Is(err, fs.ErrNotExist) }, nil},
		{"target appears", t.Context(), runnertest.Reply{Argv: create, Do: func(argv []string) error {
			return errors.Join(write(argv), os.WriteFile(path, []byte("theirs"), 0o600))
		}}, func(err error) bool { return errors.Is(err, fs.ErrExist) }, []string{"disk.img"}},
		{"context ends as it succeeds", ctx, runnertest.Reply{Argv: create, Do: func(argv []string) error { cancel(stop); return write(argv) }},
			func(err error) bool { return errors.Is(err, stop) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tool := Tool{QemuImg: "/opt/qemu-img", Runner: runnertest.New(t, tt.reply)}
			err := tool.Create(tt.ctx, CreateOptions{Path: path, Format: Raw, Size: 1024}, nil)
			if err == nil || !tt.check(err) {
				t.Errorf("error: %v", err)
			}
			if diff := cmp.Diff(tt.want, names(t, dir)); diff != "" {
				t.Errorf("directory (-want +got):\n%s", diff)
			}
			if got, err := os.ReadFile(path); err == nil && string(got) != "theirs" {
				t.Errorf("replaced: %q", got)
			}
			os.Remove(path)
		})
	}
}

func TestAMessageNamesTheImageNotItsTemporaryFile(t *testing.T) {
	p := &place{final: "/d/disk.img", temp: "/d/.kvmctl-0011223344556677.part"}
	err := toolError("create", runner.Result{Exit: -1, Signal: syscall.SIGKILL, Stderr: []byte("qemu-img: /d/.kvmctl-0011223344556677.part: \xff bad\n")}, p.rename)
	if got, want := err.Error(), "qemu-img create: /d/disk.img: ? bad (ended by killed)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLeftoversAreOurTemporaryFilesAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	ours := writeFile(t, dir, ".kvmctl-0123456789abcdef.part", nil)
	for _, name := range []string{"disk.img", ".kvmctl-0123456789abcdef.part.bak", ".kvmctl-0123456789ABCDEF.part", "x.kvmctl-0123456789abcdef.part", ".kvmctl-012345678.part", ".tmp-1"} {
		writeFile(t, dir, name, nil)
	}
	if err := os.Mkdir(filepath.Join(dir, ".kvmctl-00000000000000aa.part"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("disk.img", filepath.Join(dir, ".kvmctl-00000000000000bb.part")); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)

	p, err := newPlace(t.Context(), filepath.Join(dir, "new.img"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := CleanTemp(dir); err != nil || got != nil {
		t.Errorf("while an image is being made: removed %q, %v", got, err)
	}
	p.drop()

	if got, err := Leftovers(dir); err != nil || !cmp.Equal(got, []string{ours}) {
		t.Errorf("leftovers %q, %v", got, err)
	}
	if got, err := CleanTemp(dir); err != nil || !cmp.Equal(got, []string{ours}) {
		t.Errorf("removed %q, %v", got, err)
	}
	var want []string
	for _, n := range before {
		if n != filepath.Base(ours) {
			want = append(want, n)
		}
	}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
	if got, err := CleanTemp(dir); err != nil || got != nil {
		t.Errorf("again: removed %q, %v", got, err)
	}
	if _, err := Leftovers(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestAnswersOfQemuImgThatMakeNoSense(t *testing.T) {
	dir := t.TempDir()
	img := writeFile(t, dir, "a.qcow2", qcow2(func([]byte) {}))
	info := []string{"qemu-img", "info", "--output=json", "-U", "-f", "qcow2", img}
	check := []string{"qemu-img", "check", "--output=json", "-f", "qcow2", img}
	infoErr := func(tool Tool) error { _, err := tool.Info(t.Context(), img, ""); return err }
	checkErr := func(tool Tool) error { _, err := tool.Check(t.Context(), img, QCOW2, false); return err }
	tests := []struct {
		name  string
		reply runnertest.Reply
		act   func(Tool) error
		want  string
	}{
		{"info: nothing", runnertest.Reply{Argv: info}, infoErr, "qemu-img info " + img + ": decode: unexpected end of JSON input"},
		{"info: another thing", runnertest.Reply{Argv: info, Stdout: `{"a":1}`}, infoErr, "qemu-img info " + img + ": decode: no format or no size in \"{\\\"a\\\":1}\""},
		{"info: negative size", runnertest.Reply{Argv: info, Stdout: `{"format":"qcow2","virtual-size":-1}`}, infoErr,
			"qemu-img info " + img + ": decode: no format or no size in \"{\\\"format\\\":\\\"qcow2\\\",\\\"virtual-size\\\":-1}\""},
		{"info: too much", runnertest.Reply{Argv: info, Stdout: strings.Repeat(" ", runner.MaxStdout+1)}, infoErr, "qemu-img info " + img + ": more than 1048576 bytes of output"},
		{"info: fails", runnertest.Reply{Argv: info, Exit: 1, Stderr: "qemu-img: no\n"}, infoErr, "qemu-img info: no (exit 1)"},
		{"check: nothing", runnertest.Reply{Argv: check}, checkErr, "qemu-img check " + img + ": decode: unexpected end of JSON input"},
		{"check: negative", runnertest.Reply{Argv: check, Stdout: `{"format":"qcow2","check-errors":0,"leaks":-1}`}, checkErr, "qemu-img check " + img + ": decode: negative count -1"},
		{"check: fails", runnertest.Reply{Argv: check, Exit: 1}, checkErr, "qemu-img check: exit 1"},
		{"check: says locked", runnertest.Reply{Argv: check, Exit: 1, Stderr: "qemu-img: Could not open 'x': Failed to get shared \"write\" lock\n"}, checkErr, "image " + img + ": in use by another process"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.act(Tool{Runner: runnertest.New(t, tt.reply)})
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeInfo(t *testing.T) {
	const text = `{"snapshots":[{"icount":0,"vm-clock-nsec":0,"name":"s1","date-sec":1795353768,"date-nsec":321404000,"vm-clock-sec":0,"id":"1","vm-state-size":4096}],
		"backing-filename-format":"raw","virtual-size":67108864,"filename":"b.qcow2","cluster-size":65536,"format":"qcow2","actual-size":200704,
		"format-specific":{"type":"qcow2","data":{"compat":"1.1","corrupt":true}},"full-backing-filename":"/d/a.img","backing-filename":"a.img","dirty-flag":true}`
	want := Info{
		Format: QCOW2, VirtualSize: 64 * units.MiB, ActualSize: 200704, ClusterSize: 64 * units.KiB,
		Backing: "a.img", FullBacking: "/d/a.img", BackingFormat: Raw, Dirty: true, Corrupt: true,
		Snapshots: []Snapshot{{"1", "s1", 4096, time.Date(2026, 11, 22, 13, 22, 48, 321404000, time.UTC)}},
	}
	got, err := decodeInfo([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}
}

func TestProgressOfAConversion(t *testing.T) {
	var got []string
	w := &percentages{total: 1000, progress: func(done, total units.Size) { got = append(got, fmt.Sprintf("%d/%d", done, total)) }}
	for _, part := range []string{"    (0.00/100%)\r", "    (12.", "50/100%)\r    (100.00/100%)\r\n", "(NaN/100%)\r(101/100%)\r(-1/100%)\r(1/100)\rnoise\r", strings.Repeat("x", 9999) + "(5/100%)\r"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if diff := cmp.Diff([]string{"0/1000", "125/1000", "1000/1000"}, got); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
}

func TestLockLinesOfFdinfo(t *testing.T) {
	tests := []struct {
		name string
		give string
		want bool
	}{
		{"QEMU's", "pos:\t0\nlock:\t1: OFDLCK ADVISORY  READ -1 fe:00:9986149 100 101\n", true},
		{"a whole file", "lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:9986149 0 EOF\n", true},
		{"POSIX", "lock:\t1: POSIX  ADVISORY  WRITE 12 fe:00:9986149 203 203\n", true},
		{"flock is another world", "lock:\t1: FLOCK  ADVISORY  WRITE 12 fe:00:9986149 0 EOF\n", false},
		{"before", "lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:9986149 0 99\n", false},
		{"behind", "lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:9986149 204 EOF\n", false},
		{"cut", "lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:9986149 100\n", false},
		{"no numbers", "lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:9986149 a b\n", false},
		{"none", "pos:\t0\nflags:\t02\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := locksBytes([]byte(tt.give)); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func FuzzDecodeToolOutput(f *testing.F) {
	f.Add([]byte(`{"format":"qcow2","virtual-size":1,"check-errors":0,"required":5}`))
	f.Add([]byte(`{"format":"raw","virtual-size":1,"snapshots":[{"date-sec":-9}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if i, err := decodeInfo(data); err == nil && (i.Format == "" || i.VirtualSize < 0 || i.ActualSize < 0) {
			t.Errorf("info %+v", i)
		}
		if r, err := decodeCheck(data); err == nil && (r.Corruptions < 0 || r.Leaks < 0 || r.Errors < 0) {
			t.Errorf("check %+v", r)
		}
		if n, err := decodeMeasure(data); err == nil && n < 0 {
			t.Errorf("measure %d", n)
		}
		for line := range bytes.SplitSeq(data, []byte("\r")) {
			if v, ok := parsePercent(line); ok && !(v >= 0 && v <= 1) {
				t.Errorf("share %v", v)
			}
		}
		locksBytes(data)
	})
}
