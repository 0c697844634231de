package conf_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/drbd/conf"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// read loads a file of testdata as if it were below /.
func read(t testing.TB, name string) (*conf.Config, error) {
	t.Helper()
	return conf.Load(conf.Dir("testdata"), "", "/"+name)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// files gives the names of a directory of testdata.
func files(t testing.TB, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("testdata", dir, "*.conf"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: %v, %v", dir, all, err)
	}
	for i := range all {
		all[i], _ = filepath.Rel("testdata", all[i])
	}
	return all
}

// facts writes what a configuration says, a line each.
func facts(c *conf.Config) string {
	var b strings.Builder
	for _, f := range c.Facts() {
		fmt.Fprintf(&b, "%s: %s: %s: %s\n", f.Value.At, f.About, f.What, f.Value)
	}
	for _, p := range c.Problems {
		fmt.Fprintf(&b, "problem: %v\n", p)
	}
	return b.String()
}

func TestEveryFactOfTheCorpusHasItsPlace(t *testing.T) {
	for _, name := range files(t, "corpus") {
		c, err := read(t, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden(t, strings.TrimSuffix(name, ".conf")+".facts", facts(c))
	}
}

// What drbdadm refuses is refused or told of, and a secret is never repeated, where drbdadm repeats it.
func TestWhatDrbdadmRefuses(t *testing.T) {
	var b strings.Builder
	for _, name := range files(t, "refused") {
		c, err := read(t, name)
		if err == nil && len(c.Problems) == 0 {
			t.Errorf("%s: taken", name)
			continue
		}
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
			if e, ok := errors.AsType[*conf.Error](err); !ok || e.At.Line == 0 {
				t.Errorf("%s: no place: %v", name, err)
			}
			continue
		}
		for _, p := range c.Problems {
			fmt.Fprintf(&b, "%v (read on)\n", p)
		}
		if strings.Contains(facts(c)+fmt.Sprintf("%+v", c.Common), "s3cr3t") {
			t.Errorf("%s: the secret is kept", name)
		}
	}
	if strings.Contains(b.String(), "s3cr3t") || strings.Contains(b.String(), "trailing") {
		t.Error("a secret is repeated")
	}
	golden(t, "refused.golden", b.String())
}

func TestSecretsCompareWithoutBeingKept(t *testing.T) {
	load := func(secret string) *conf.Config {
		c, err := conf.Load(conf.Memory{"/d.conf": []byte("common { net { shared-secret \"" + secret + "\"; } }\nresource a { }")}, "", "/d.conf")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if d := conf.Diff(load("one"), load("one")); len(d) != 0 {
		t.Errorf("the same: %v", d)
	}
	d := conf.Diff(load("one"), load("two"))
	if len(d) != 1 || d[0].What != "net shared-secret" || d[0].Here.Text != "(hidden)" || d[0].Here.At.String() != "/d.conf:1:16" {
		t.Errorf("another: %+v", d)
	}
}

func TestDiffIsByMeaning(t *testing.T) {
	here := conf.Memory{"/etc/drbd.conf": []byte(`include "d/*.res"; common { net { protocol C; } syncer { rate 10M; } }`),
		"/etc/d/a.res": []byte("resource a {\n on x { device /dev/drbd1; disk /dev/sda; meta-disk internal; address 10.0.0.1:7788; }\n on y { device /dev/drbd1; disk /dev/sda; meta-disk internal; address 10.0.0.2:7788; }\n}\nresource b { }\n")}
	there := conf.Memory{"/etc/drbd.conf": []byte("resource a {\n protocol c;\n disk { resync-rate 10M; }\n device minor 1; meta-disk internal; disk /dev/sda;\n on y { address 10.0.0.2:7788; }\n on x { address ipv4 10.0.0.1:7789; disk /dev/sdb; }\n on z { address 10.0.0.3:1; }\n startup { wfc-timeout 3; }\n}\n")}
	a, err := conf.Load(here, "", "/etc/drbd.conf")
	if err != nil {
		t.Fatal(err)
	}
	b, err := conf.Load(there, "peer:", "/etc/drbd.conf")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range conf.Diff(a, b) {
		got = append(got, fmt.Sprintf("%s: %s: %q %s, %q %s", d.About, d.What, d.Here, d.Here.At, d.There, d.There.At))
	}
	want := []string{
		`resource a, on x: address: "10.0.0.1:7788" /etc/d/a.res:2:71, "10.0.0.1:7789" peer:/etc/drbd.conf:6:17`,
		`resource a, on x, volume 0: disk: "/dev/sda" /etc/d/a.res:2:33, "/dev/sdb" peer:/etc/drbd.conf:6:42`,
		`resource b: : "" /etc/d/a.res:5:10, "" peer:/etc/drbd.conf`,
		`resource a: startup wfc-timeout: "" /etc/d/a.res:1:10, "3" peer:/etc/drbd.conf:8:12`,
		`resource a, on z: : "" /etc/d/a.res:1:10, "" peer:/etc/drbd.conf:7:2`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatWasReadHereIsReadTheSameThere(t *testing.T) {
	for _, name := range files(t, "corpus") {
		r := &conf.Recorder{Source: conf.Dir("testdata")}
		a, err := conf.Load(r, "", "/"+name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := conf.Load(r.Texts, "", "/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(facts(a), facts(b)); diff != "" {
			t.Errorf("%s (-disk +memory):\n%s", name, diff)
		}
	}
}

func TestBounds(t *testing.T) {
	many := func(n int, text string) []byte { return bytes.Repeat([]byte(text), n) }
	deep := conf.Memory{}
	for i := range 20 {
		deep[fmt.Sprintf("/%d", i)] = fmt.Appendf(nil, "include \"%d\";", i+1)
	}
	wide := conf.Memory{"/0": []byte(`include "f/*";`)}
	for i := range 1001 {
		wide[fmt.Sprintf("/f/%d", i)] = nil
	}
	fat := conf.Memory{"/0": []byte(`include "f/*";`)}
	for i := range 5 {
		fat[fmt.Sprintf("/f/%d", i)] = many(1<<20, "#")
	}
	for name, source := range map[string]conf.Memory{
		"depth": deep, "files": wide, "total": fat,
		"file":       {"/0": many(1<<20+1, "#")},
		"resources":  {"/0": many(3000, "resource r {}")},
		"statements": {"/0": many(1<<15, "skip {}")},
		"options":    {"/0": append([]byte("common { net {"), many(300, "timeout 5;")...)},
		"hosts":      {"/0": append([]byte("resource r {"), many(300, "on a {}")...)},
		"volumes":    {"/0": append([]byte("resource r {"), many(300, "volume 1 {}")...)},
		"common":     {"/0": many(300, "common { net { timeout 5; } }")},
	} {
		if _, err := conf.Load(source, "", "/0"); !errors.Is(err, conf.ErrTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoFileAndNoRegularFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := conf.Load(conf.Dir(dir), dir, "/drbd.conf"); !errors.Is(err, fs.ErrNotExist) || err.Error() != dir+"/drbd.conf: no such file or directory" {
		t.Errorf("%v", err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := conf.Load(conf.Dir(dir), "", "/fifo"); err == nil || !strings.HasSuffix(err.Error(), "no regular file") {
		t.Errorf("%v", err)
	}
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]uint64{"100M": 100 << 20, "7": 7 << 10, "3k": 3 << 10, "2G": 2 << 30, "8s": 4096} {
		if got, ok := conf.Number(text, 1<<10); !ok || got != want {
			t.Errorf("%s: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "M", "-1", "1T", "99999999999"} {
		if _, ok := conf.Number(text, 1); ok {
			t.Errorf("%q: taken", text)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"corpus", "refused"} {
		for _, name := range files(f, dir) {
			text, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		source := conf.Memory{"/etc/drbd.conf": text, "/etc/x/a.res": []byte("resource r { }")}
		c, err := conf.Load(source, "", "/etc/drbd.conf")
		if err != nil {
			if e, ok := errors.AsType[*conf.Error](err); !ok || c != nil || e.At.File == "" {
				t.Fatalf("%v beside %v", err, c)
			}
			return
		}
		lines := strings.Split(string(text), "\n")
		for _, f := range c.Facts() {
			at := f.Value.At
			if at.File == "/etc/drbd.conf" && (at.Line < 1 || at.Line > len(lines) || at.Column < 0 || at.Column > len(lines[at.Line-1])) {
				t.Fatalf("%v is nowhere", f)
			}
		}
		if d := conf.Diff(c, c); len(d) != 0 {
			t.Fatalf("differs from itself: %v", d)
		}
	})
}
