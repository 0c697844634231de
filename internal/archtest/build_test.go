package archtest

import (
	"debug/elf"
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
	} {
		if found, err := filepath.Glob(filepath.Join(dest, "usr", name)); err != nil || len(found) != 1 {
			t.Errorf("not installed: %s", name)
		}
	}
}
