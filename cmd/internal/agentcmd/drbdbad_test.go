package agentcmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot be read on is told with its place, in one line, and is exit code 2.
func TestDRBDLintOfBrokenFiles(t *testing.T) {
	deep := map[string]string{"drbd.conf": `include "l1.res";`}
	for i := range 15 {
		deep[fmt.Sprintf("l%d.res", i)] = fmt.Sprintf("include \"l%d.res\";", i+1)
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		code  int
		want  string // of the only line on stderr, behind "cannot read drbd.conf: "
	}{
		{"a missing include", map[string]string{"drbd.conf": "# all\ninclude \"drbd.d/r0.res\";"}, 2, "ETC/drbd.conf:2:9: read ETC/drbd.d/r0.res: no such file or directory"},
		{"a pattern without a match", map[string]string{"drbd.conf": `include "drbd.d/*.res";`}, 0, ""},
		{"an include of itself", map[string]string{"drbd.conf": drbdGood + drbdPair + `include "drbd.conf";`}, 0, ""},
		{"a circle of includes", map[string]string{"drbd.conf": drbdGood + drbdPair + `include "b";`, "b": `include "c";`, "c": `include "b"; include "drbd.conf";`}, 0, ""},
		{"includes too deep", deep, 2, "ETC/l9.res:1:9: includes nested more than 10 deep: too long"},
		{"a megabyte", map[string]string{"drbd.conf": strings.Repeat(" ", 1<<20+1)}, 2, "ETC/drbd.conf: too long: more than 1048576 bytes"},
		{"an included megabyte", map[string]string{"drbd.conf": `include "big";`, "big": strings.Repeat(" ", 1<<20+1)}, 2, "ETC/drbd.conf:1:9: read ETC/big: too long: more than 1048576 bytes"},
		{"thousands of resources", map[string]string{"drbd.conf": strings.Repeat("resource r { }\n", 5000)}, 2, "ETC/drbd.conf:2001:11: more than 2000 resources"},
		{"a NUL", map[string]string{"drbd.conf": "resource r0 {\n \x00\n}\n"}, 2, "ETC/drbd.conf:2:2: a NUL byte"},
		{"a byte order mark", map[string]string{"drbd.conf": "\ufeffresource r0 { }\n"}, 2, "ETC/drbd.conf:1:1: a byte order mark, which drbdadm does not know: save the file as UTF-8 without it"},
		{"a string without an end", map[string]string{"drbd.conf": "common {\n net { shared-secret \"s3cr3t;\n }\n}\n"}, 2, "ETC/drbd.conf:2:22: a quoted string that does not end on its line"},
		{"a section without an end", map[string]string{"drbd.conf": "common {\n net {"}, 2, "ETC/drbd.conf:2:7: an option of net is expected, not the end of the file"},
		{"another file", map[string]string{"drbd.conf": "s3cr3t"}, 2, `ETC/drbd.conf:1:1: "global", "common", "resource", "include" or "skip" is expected, not another word`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.files["hostname"] = "a"
			root := etc(t, tt.files)
			want := ""
			if tt.want != "" {
				want = "kvmha: error: cannot read drbd.conf: " + strings.ReplaceAll(tt.want, "ETC", filepath.Join(root, "etc")) + "\n"
			}
			for _, args := range [][]string{{"--root", root, "drbd", "lint"}, {"--root", root, "drbd", "lint", "--json"}} {
				code, stdout, stderr := said(t, args...)
				if code != tt.code || stderr != want || tt.code == 2 && stdout != "" || strings.Contains(stdout+stderr, "s3cr3t") {
					t.Errorf("exit %d, %q, want %d, %q\n%.500s", code, stderr, tt.code, want, stdout)
				}
			}
		})
	}
}

// A drbd.conf that is a directory, a FIFO or a circle of links is waited for by nobody.
func TestDRBDLintOfWhatIsNoFile(t *testing.T) {
	root := etc(t, map[string]string{"hostname": "a"})
	file := filepath.Join(root, "etc/drbd.conf")
	for want, make := range map[string]func() error{
		"no regular file":                   func() error { return os.Mkdir(file, 0o755) },
		"too many levels of symbolic links": func() error { return os.Symlink("drbd.conf", file) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := said(t, "--root", root, "drbd", "lint"); code != 2 || stdout != "" || stderr != "kvmha: error: cannot read drbd.conf: "+file+": "+want+"\n" {
			t.Errorf("%s: exit %d\n%s%s", want, code, stdout, stderr)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}
