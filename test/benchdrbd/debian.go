package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// suite and mirror are where the packages come from; apt's own configuration of this machine does not matter.
const (
	suite  = "bookworm"
	mirror = "http://deb.debian.org/debian"
)

// packages are the other contenders, with what their agents and scripts call.
var packages = []string{"keepalived", "pacemaker", "pacemaker-cli-utils", "corosync", "resource-agents", "drbd-utils", "e2fsprogs", "iproute2",
	"iputils-arping", "iputils-ping", "procps", "psmisc", "kmod", "util-linux", "mount"}

// debian is the image of a file system with the other contenders in it, and makes it first when it is not in the cache directory dir, which takes two minutes
// and the network. The guests run what is in it by chroot, on the kernel and the DRBD that all contenders have.
func debian(ctx context.Context, dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, suite, packages)
	image := filepath.Join(dir, "debian-"+hex.EncodeToString(h.Sum(nil))[:12])
	if _, err := os.Stat(image); err == nil {
		return filepath.Abs(image)
	}
	say("making a Debian with %s", strings.Join(packages[:4], ", "))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a Debian image: %w", err)
	}
	tree, tmp := image+".tree", image+".tmp"
	defer os.RemoveAll(tree)
	if err := errors.Join(os.RemoveAll(tree), os.RemoveAll(tmp)); err != nil { // of one that was killed
		return "", fmt.Errorf("make a Debian image: %w", err)
	}
	args := []string{"--mode=root", "--variant=minbase", "--components=main", "--format=directory",
		`--aptopt=APT::Install-Recommends "false"`, `--aptopt=APT::Sandbox::User "root"`, "--include=" + strings.Join(packages, ","),
		"--customize-hook=rm -rf \"$1\"/var/cache/apt/* \"$1\"/var/lib/apt/lists/*"}
	for _, path := range []string{"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"} {
		args = append(args, "--dpkgopt=path-exclude="+path)
	}
	for _, argv := range [][]string{
		append(append([]string{"mmdebstrap"}, args...), suite, tree, mirror),
		{"mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, tmp, "700M"},
	} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
			return "", fmt.Errorf("make a Debian image: %s: %w: %s", argv[0], err, bytes.Join(lines[max(0, len(lines)-5):], []byte("\n  ")))
		}
	}
	if err := os.Rename(tmp, image); err != nil {
		return "", fmt.Errorf("make a Debian image: %w", err)
	}
	return filepath.Abs(image)
}
