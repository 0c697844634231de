package main

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/rogpeppe/go-internal/testscript"
)

// bootCD makes a bootable CD of testdata/install.s. The assembler comes with gcc.
func bootCD(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: bootcd FILE")
	}
	source, err := os.ReadFile(filepath.Join(sources, "testdata", "install.s"))
	ts.Check(err)
	work := ts.MkAbs(args[0]) + ".work"
	ts.Check(os.MkdirAll(filepath.Join(work, "cd"), 0o755))
	boot := filepath.Join(work, "cd", "boot.bin")
	ts.Check(os.WriteFile(filepath.Join(work, "install.s"), source, 0o644))
	for _, argv := range [][]string{
		{"as", "--32", "-o", filepath.Join(work, "install.o"), filepath.Join(work, "install.s")},
		{"ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", boot, filepath.Join(work, "install.o")},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			ts.Fatalf("%s: %v: %s", argv[0], err, out)
		}
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	iso, err := iso9660.Create(file.New(f, false), 0, 0, 2048, filepath.Join(work, "cd"))
	ts.Check(err)
	ts.Check(iso.Finalize(iso9660.FinalizeOptions{VolumeIdentifier: "INSTALL", ElTorito: &iso9660.ElTorito{
		Entries: []*iso9660.ElToritoEntry{{Platform: iso9660.BIOS, Emulation: iso9660.NoEmulation, BootFile: "boot.bin"}},
	}}))
	ts.Check(f.Close())
	ts.Check(os.RemoveAll(work))
}

// sources is where this package's files are: scripts run elsewhere.
var sources = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()
