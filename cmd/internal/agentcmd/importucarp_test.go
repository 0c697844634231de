package agentcmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestImportUCARPPrintsWhatLoadsAndNoPassword(t *testing.T) {
	root := etc(t, map[string]string{
		"default/ucarp": "PASSWORD=hunter2\nOPTIONS=\"-P -z\"\n", "ucarp/interface/eth0": "VID=1\nVIP=10.2.0.10\n", "ucarp/interface/eth1": "VID=2\nVIP=10.3.0.10\nPASS='hunter3'\nCOLOUR=red\n",
		"ucarp/interface/eth1.dpkg-old": "junk", "ucarp/interface/.swp": "junk",
	})
	code, stdout, stderr := said(t, "--root", root, "import-ucarp")
	if code != 0 || strings.Contains(stdout+stderr, "hunter") {
		t.Fatalf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	for name, want := range map[string]string{"eth0": "hunter2\n", "eth1": "hunter3\n"} {
		path := filepath.Join(root, "etc/kvmha", name+".password")
		text, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || string(text) != want || info.Mode() != 0o600 {
			t.Errorf("%s: %q, %v, %v, %v", path, text, info, err, serr)
		}
		if !strings.Contains(stdout, "password_file = \""+path+"\"") || !strings.Contains(stderr, "the password is in "+path) {
			t.Errorf("%s is not named in\n%s%s", path, stdout, stderr)
		}
	}
	if !strings.Contains(stderr, "interface/eth1:4: COLOUR means nothing to ucarp") {
		t.Errorf("what has no counterpart is not said:\n%s", stderr)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/kvmha.toml"), []byte(stdout), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := said(t, "--root", root, "check"); code != 0 {
		t.Errorf("check of what was printed: exit %d\n%s", code, stderr)
	}
	// Once more: the same end. With another password in a file: refused, and the file stays.
	if again, out, _ := said(t, "--root", root, "import-ucarp"); again != 0 || out != stdout {
		t.Errorf("again: exit %d\n%s", again, out)
	}
	other := filepath.Join(root, "etc/kvmha/eth0.password")
	if err := os.WriteFile(other, []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr = said(t, "--root", root, "import-ucarp")
	if text, _ := os.ReadFile(other); code != 3 || stdout != "" || string(text) != "mine\n" || !strings.Contains(stderr, other+" is there and holds another password") {
		t.Errorf("exit %d, stdout %q, file %q\n%s", code, stdout, text, stderr)
	}
}

func TestImportUCARPReadsACommandLine(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := said(t, "import-ucarp", "--passwords", dir, "--", "-i", "eth0", "-v", "10", "-p", "hunter2", "-a", "10.1.1.252", "-P")
	want := "\n[group.vip10]\ninterface = \"eth0\"\nvhid = 10\naddresses = [\"10.1.1.252\"]\npassword_file = \"" + dir +
		"/vip10.password\"\npeer = \"ucarp\"\nskew = 0\npreempt = true\npreempt_delay = \"0s\"\n"
	if code != 0 || !strings.HasSuffix(stdout, want) || strings.Contains(stderr, "hunter2") {
		t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
	}
}

func TestImportUCARPRefuses(t *testing.T) {
	root := etc(t, map[string]string{"default/other": "INTERFACE=eth0\n"})
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing there", []string{"import-ucarp"}, 1, "neither " + root + "/etc/default/ucarp nor a file in " + root + "/etc/ucarp/interface is there"},
		{"a file that is not there", []string{"import-ucarp", "--default", "/nonexistent"}, 1, "open /nonexistent: no such file or directory"},
		{"a directory", []string{"import-ucarp", "--default", root}, 1, "no regular file"},
		{"half a ucarp", []string{"import-ucarp", "--default", root + "/etc/default/other"}, 1, "no --vhid: that is no whole ucarp"},
		{"words without --", []string{"import-ucarp", "eth0"}, 2, "ucarp's own options stand behind --"},
		{"an unknown option", []string{"import-ucarp", "--", "--paswd=hunter2"}, 1, "--paswd: ucarp has no such option"},
		{"both", []string{"import-ucarp", "--default", "/x", "--", "-P"}, 2, "files and a command line exclude each other"},
		{"too long a password", []string{"import-ucarp", "--passwords", t.TempDir(), "--", "-i", "eth0", "-v", "1", "-a", "10.0.0.1", "-p", "hunter2hunter2hunter2"}, 2, "is 21 bytes long"},
		{"no password", []string{"import-ucarp", "--passwords", t.TempDir(), "--", "-i", "eth0", "-v", "1", "-a", "10.0.0.1"}, 2, "cannot be read: no such file or directory"},
	} {
		code, _, stderr := said(t, append([]string{"--root", root}, tt.args...)...)
		if code != tt.code || !strings.Contains(stderr, tt.want) || strings.Contains(stderr, "hunter2") {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", tt.name, code, tt.code, tt.want, stderr)
		}
	}
}

// TestImportUCARPReadsNetworkInterfaces is Debian's own way to configure a ucarp: its if-up.d/ucarp.
func TestImportUCARPReadsNetworkInterfaces(t *testing.T) {
	root := etc(t, map[string]string{
		"network/interfaces":             "auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n",
		"network/interfaces.d/eth0":      "iface eth0 inet static\n\taddress 10.2.0.2/24\n\tucarp-vid 1\n\tucarp-vip 10.2.0.10\n\tucarp-password hunter2\n",
		"network/interfaces.d/.eth0.swp": "junk",
	})
	code, stdout, stderr := said(t, "--root", root, "import-ucarp")
	want := "\n[group.eth0]\ninterface = \"eth0\"\nvhid = 1\naddresses = [\"10.2.0.10\"]\npassword_file = \"" + root + "/etc/kvmha/eth0.password\"\npeer = \"ucarp\"\nskew = 0\n"
	if code != 0 || !strings.HasSuffix(stdout, want) || strings.Contains(stdout+stderr, "hunter2") {
		t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	if !strings.Contains(stderr, "interfaces.d/eth0:1: take the lines ucarp-… out of the stanza of eth0") {
		t.Errorf("who would start the ucarp beside kvmha is not said:\n%s", stderr)
	}
}
