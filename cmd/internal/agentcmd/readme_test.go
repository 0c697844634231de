package agentcmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the README has one type for storage works as it stands there: the file is one, the template goes with it, and neither check nor lint has a
// word against the two.
func TestStorageOfTheREADME(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Storage that follows the address\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, file, _ := strings.Cut(section, "```toml\n")
	file, _, ok := strings.Cut(file, "```\n")
	_, line, found := strings.Cut(section, "varda2# kvmha drbd template ")
	line, to, _ := strings.Cut(line[:strings.Index(line, "\n")], " > ")
	if !ok || !found || to != "/etc/drbd.d/r0.res" {
		t.Fatalf("the section has changed: %q, %q", line, to)
	}
	root := etc(t, map[string]string{"hostname": "varda2\n", "kvmha.toml": file, "drbd.conf": "include \"drbd.d/*.res\";\n"})
	code, resource, stderr := said(t, append([]string{"--root", root, "drbd", "template"}, strings.Fields(line)...)...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if err := os.MkdirAll(filepath.Join(root, "etc/drbd.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, to), []byte(resource), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := said(t, "--root", root, "drbd", "lint", "--no-peer"); code != 0 {
		t.Errorf("lint: exit %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr := said(t, "--root", root, "check")
	_, group, _ := strings.Cut(stdout, "\ngroup varda\n")
	group = strings.Replace(group, "  found here:\n  - there is no interface eth0 now", "", 1) // so it may be on the machine of the test
	if code != 0 || stderr != "" || group == "" || strings.Contains(group, "found here:") || strings.Contains(stdout, "the agent refuses to run") {
		t.Errorf("check: exit %d\n%s%s", code, stdout, stderr)
	}
}

// Each command of the section is one, with the flags that it has.
func TestCommandsOfTheREADME(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Storage that follows the address\n")
	section, _, _ = strings.Cut(section, "\n## ")
	seen := map[string]bool{}
	for line := range strings.Lines(section) {
		_, command, ok := strings.Cut(line, "# kvmha ")
		if !ok {
			continue
		}
		command, _, _ = strings.Cut(command, ">")
		words := strings.Fields(command)
		code, stdout, stderr := said(t, append(words, "--help")...)
		use := "kvmha " + strings.Join(words[:min(2, len(words))], " ")
		if code != 0 || !strings.Contains(stdout, use) {
			t.Errorf("%s: exit %d: %s\n%s", command, code, stderr, stdout)
		}
		seen[strings.Join(words[:min(2, len(words))], " ")] = true
	}
	for _, want := range []string{"check", "drbd template", "drbd init", "drbd lint", "drbd status", "drbd resolve", "drbd kept"} {
		if !seen[want] {
			t.Errorf("the section has no %s: %v", want, seen)
		}
	}
}
