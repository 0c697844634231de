package conf_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/drbd/conf"
	"kvmctl/internal/testenv"
)

// drbdadm dumps a file with Debian's drbd-utils, which have one for 8.4 beside that for 9.
func drbdadm(t *testing.T, path string) (dump string, err error) {
	t.Helper()
	program := "drbdadm"
	if strings.HasPrefix(filepath.Base(path), "84-") {
		program = "/lib/drbd/drbdadm-84"
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "-c", path, "dump")
	cmd.Stdout = &out
	err = cmd.Run()
	return out.String(), err
}

// What drbdadm dumps of a file means what we read in the file.
func TestDrbdadmReadsTheCorpusAsWeDo(t *testing.T) {
	testenv.Need(t, testenv.Netns, "drbdadm", "/lib/drbd/drbdadm-84")
	for _, name := range files(t, "corpus") {
		path, err := filepath.Abs(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		dump, err := drbdadm(t, path)
		if err != nil {
			t.Errorf("%s: drbdadm: %v", name, err)
			continue
		}
		ours, err := read(t, name)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := conf.Load(conf.Memory{"/dump": []byte(dump)}, "", "/dump")
		if err != nil {
			t.Errorf("%s: the dump: %v", name, err)
			continue
		}
		for _, d := range conf.Diff(ours, theirs) {
			if d.About == "global" { // it dumps its own time-outs too
				continue
			}
			t.Errorf("%s: %s: %s: %q (%s), drbdadm has %q", name, d.About, d.What, d.Here, d.Here.At, d.There)
		}
		if len(ours.Problems) > 0 {
			t.Errorf("%s: %v", name, ours.Problems)
		}
	}
}

// What we refuse or have a problem with is refused by drbdadm of 9.
func TestDrbdadmRefusesWhatWeDo(t *testing.T) {
	testenv.Need(t, testenv.Netns, "drbdadm")
	for _, name := range files(t, "refused") {
		path, err := filepath.Abs(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := drbdadm(t, path); err == nil {
			t.Errorf("%s: drbdadm takes it", name)
		}
	}
}
