package archtest

import (
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// make runs a verb of the Makefile, outside of the make that may be running this test.
func makeVerb(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("env", append([]string{"-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "--no-print-directory", "-C", root(t)}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestMakeBuildGivesAStaticProgramThatKnowsItsVersion(t *testing.T) {
	dir := t.TempDir()
	makeVerb(t, "build", "BIN="+dir, "VERSION=v1.2.3-test")
	program := filepath.Join(dir, "kvmctl")
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a %s segment: not static", p.Type)
		}
	}
	info, err := exec.Command("go", "version", "-m", program).CombinedOutput()
	if err != nil {
		t.Fatalf("go version -m: %v\n%s", err, info)
	}
	for _, want := range []string{"\tCGO_ENABLED=0\n", "\t-trimpath=true\n"} {
		if !strings.Contains(string(info), want) {
			t.Errorf("built without %q:\n%s", strings.TrimSpace(want), info)
		}
	}
	out, err := exec.Command(program, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v1.2.3-test") {
		t.Errorf("kvmctl --version: %v, %q", err, out)
	}
}

func TestMakeInstallPutsEverythingUnderDestdir(t *testing.T) {
	dir, dest := t.TempDir(), t.TempDir()
	makeVerb(t, "build", "BIN="+dir)
	makeVerb(t, "install", "BIN="+dir, "DESTDIR="+dest, "PREFIX=/usr")
	for _, name := range []string{
		"bin/kvmctl", "share/bash-completion/completions/kvmctl", "share/zsh/site-functions/_kvmctl",
		"share/fish/vendor_completions.d/kvmctl.fish", "share/doc/kvmctl/LICENSE",
		"share/doc/kvmctl/examples/kvm.reference.toml", "share/doc/kvmctl/examples/vm.reference.toml",
		"bin/kvmha", "share/bash-completion/completions/kvmha", "share/zsh/site-functions/_kvmha", "share/fish/vendor_completions.d/kvmha.fish",
		"share/doc/kvmctl/examples/kvmha.reference.toml", "lib/systemd/system/kvmha.service", "lib/systemd/system/kvmha-tick.service",
		"../etc/init.d/kvmha", "../etc/needrestart/conf.d/kvmctl.conf",
	} {
		if found, err := filepath.Glob(filepath.Join(dest, "usr", name)); err != nil || len(found) != 1 {
			t.Errorf("not installed: %s", name)
		}
	}
	unit, err := os.ReadFile(filepath.Join(dest, "usr/lib/systemd/system/kvmha.service"))
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/usr/bin/kvmha run\n") {
		t.Errorf("kvmha.service does not start what was installed: %v\n%s", err, unit)
	}
	makeVerb(t, "uninstall", "BIN="+dir, "DESTDIR="+dest, "PREFIX=/usr")
	err = filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("uninstall leaves %s", strings.TrimPrefix(path, dest))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheAgentLinksNothingOfTheHost: kvmha runs on members that are no hosts.
func TestTheAgentLinksNothingOfTheHost(t *testing.T) {
	for _, system := range []string{"linux", "freebsd"} {
		cmd := exec.Command("go", "list", "-deps", module+"/cmd/kvmha")
		cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, dep := range strings.Fields(string(out)) {
			if r := room(dep); r == "vm" || r == "netbridge" || dep == module+"/configs" {
				t.Errorf("%s: kvmha links %s", system, dep)
			}
		}
	}
}
