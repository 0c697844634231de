package agentcmd

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// etc writes files below a new root's /etc; what is secret is 0600.
func etc(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, dir := range []string{"usr/bin", "usr/local/bin"} { // for the handlers of a drbd.conf
		program := filepath.Join(root, dir, "kvmha")
		if err := errors.Join(os.MkdirAll(filepath.Dir(program), 0o755), os.WriteFile(program, nil, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		path := filepath.Join(root, "etc", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const webFile = `[group.web]
interface = "nosuch0"
vhid = 1
addresses = ["10.2.0.10"]
password = "hunter2"
peer_skew = 100
[[group.web.unit]]
type = "sysv"
name = "apache2"
`

func TestCheckSaysWhatTheFileMeansAndWhatItFoundHere(t *testing.T) {
	root := etc(t, map[string]string{"kvmha.toml": webFile, "init.d/apache2": "#!/bin/sh\n", "rc3.d/S03apache2": "#!/bin/sh\n"})
	code, stdout, stderr := said(t, "--root", root, "check")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{
		"this node\n  found here:\n  - nobody is told", "\n\ngroup web\n  found here:\n  - there is no interface nosuch0 now",
		"  - apache2 is also started at boot (" + root + "/etc/rc3.d/S03apache2): both nodes would run it\n      type: update-rc.d apache2 disable\n",
		"  promised:\n  - This node shares 10.2.0.10 on nosuch0", "  not ruled out:\n", "In a full partition", "  left to do:\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "hunter2") {
		t.Error("the password is printed")
	}
}

// Of storage it says who goes on and who waits, and what a run with the file would be refused for; positions are in the file that was named.
func TestCheckTellsOfStorageWhatRunWouldRefuse(t *testing.T) {
	root := etc(t, map[string]string{"drbd.conf": drbdGood + drbdPair, "hostname": "a", "fstab": "/dev/drbd0 /srv ext4 defaults 0 2\n",
		"kvmha.toml": webFile, "new.toml": strings.Replace(storageTOML, `directory = "/srv"`, "directory = \"/srv\"\n[[group.files.mount]]\ndevice = \"/dev/sdb1\"\ndirectory = \"/mnt\"", 1)})
	file := filepath.Join(root, "etc/new.toml")
	code, stdout, stderr := said(t, "--root", root, "check", file)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{
		"  - the agent refuses to run with this file: storage is not safe here: " + root + "/etc/fstab:1:1: mounts /dev/drbd0 on /srv at boot\n      type: kvmha drbd lint\n",
		"storage is not safe here: " + file + `: group "files" mounts /dev/sdb1 on /mnt`,
		"  - When b or its host dies, a goes on by itself, as alone names it; if it stood by, it takes over.\n",
		"  - When a or its host dies, b waits: ", "kvmha confirm-dead files a\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "nothing in this file could decide") {
		t.Errorf("alone decides:\n%s", stdout)
	}
}

func TestCheckPrintsJSON(t *testing.T) {
	root := etc(t, map[string]string{"kvmha.toml": webFile})
	code, stdout, stderr := said(t, "--root", root, "check", "--json")
	var list []struct{ Group, Kind, Text, Fix string }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 || stderr != "" {
		t.Fatalf("exit %d, stderr %q: %v", code, stderr, err)
	}
	kinds := map[string]int{}
	for _, s := range list {
		kinds[s.Kind]++
		if s.Text == "" {
			t.Errorf("no text: %+v", s)
		}
	}
	for _, k := range []string{"warning", "promise", "limit", "task"} {
		if kinds[k] == 0 {
			t.Errorf("no %s in %v", k, kinds)
		}
	}
}

func TestCheckTellsEveryMistake(t *testing.T) {
	root := etc(t, map[string]string{"kvmha.toml": "[group.web]\ninterfase = \"eth0\"\nvhid = 0\naddresses = [\"10.2.0.10\"]\npassword = \"hunter2\"\n"})
	code, stdout, stderr := said(t, "--root", root, "check")
	file := filepath.Join(root, "etc/kvmha.toml")
	want := "kvmha: error: " + file + ":1:1: group \"web\" has no interface\nkvmha: hint: interface = \"eth0\"\n" +
		"kvmha: error: " + file + ":2:1: unknown key \"interfase\"\nkvmha: hint: did you mean \"interface\"?\n" +
		"kvmha: error: " + file + ":3:8: group.web.vhid wants 1 to 255, got 0\nkvmha: hint: vhid = 1\n"
	if code != 2 || stdout != "" || stderr != want {
		t.Errorf("exit %d, stdout %q, stderr\n%s\nwant\n%s", code, stdout, stderr, want)
	}
}

func TestCheckWithoutAFileSaysHowToBegin(t *testing.T) {
	code, stdout, stderr := said(t, "check", "/nonexistent/kvmha.toml")
	want := "kvmha: error: cannot read /nonexistent/kvmha.toml: there is no such file\nkvmha: hint: kvmha import-ucarp, or begin with the reference file kvmha.reference.toml\n"
	if code != 2 || stdout != "" || stderr != want {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
