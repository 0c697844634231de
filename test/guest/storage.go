package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/flock"
)

// storageModules are what /lib/storage loads: DRBD with what it signs and checks by, a file system, and device-mapper with targets to break a disk.
var storageModules = []string{"crc32c_generic", "sha1_generic", "hmac", "drbd", "ext4", "dm_mod", "dm_mirror", "loop"}

// storagePrograms are what the guest with storage has beside the small one's, by package; those for DRBD 8.4 are in /lib/drbd.
var storagePrograms = map[string][]string{
	"drbd-utils": {"drbdadm", "drbdsetup", "drbdmeta", "drbdadm-84", "drbdsetup-84"},
	"e2fsprogs":  {"mke2fs", "mkfs.ext4", "e2fsck", "fsck.ext4", "dumpe2fs", "debugfs", "tune2fs"},
	"dmsetup":    {"dmsetup"},
	"mount":      {"mount", "umount"},
	"util-linux": {"wipefs"},
}

// Storage is an initramfs for Images.Kernel that also has DRBD, ext4 and device-mapper: what Build gives, and more behind it. /lib/storage loads
// the modules; nothing runs it by itself. Package drbdlab boots it.
func Storage(ctx context.Context, dir string) (Images, error) {
	images, err := Build(ctx, dir)
	if err != nil {
		return Images{}, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return Images{}, fmt.Errorf("build guest with storage: %w", err)
	}
	h := sha256.New()
	fmt.Fprintln(h, "storage 4", storageModules, storagePrograms, filepath.Base(filepath.Dir(images.Initrd)))
	out := filepath.Join(dir, "storage-"+hex.EncodeToString(h.Sum(nil))[:12])
	whole := images
	whole.Initrd, whole.AgentInitrd = out, ""
	if info, err := os.Stat(out); err == nil && info.Size() > 0 {
		return whole, nil
	}
	lock, err := flock.Wait(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return Images{}, fmt.Errorf("build guest with storage: wait for another builder in %s: %w", dir, err)
	}
	defer lock.Unlock()
	more, err := storageInitrd(ctx, dir, images.Release)
	if err != nil {
		return Images{}, fmt.Errorf("build guest with storage: %w", err)
	}
	base, err := os.ReadFile(images.Initrd)
	if err == nil {
		err = atomicfile.Write(out, slices.Concat(base, more), 0o644)
	}
	if err != nil {
		return Images{}, fmt.Errorf("build guest with storage: %w", err)
	}
	return whole, nil
}

// storageInitrd is what comes behind the small guest.
func storageInitrd(ctx context.Context, dir, release string) ([]byte, error) {
	s, err := openStore(filepath.Join(dir, "packages"))
	if err != nil {
		return nil, err
	}
	kernel, err := s.kernelFiles(ctx, "linux-image-"+release)
	if err != nil {
		return nil, err
	}
	mods := modulesOf(kernel)
	wanted := slices.DeleteFunc(slices.Clone(storageModules), func(m string) bool { return mods.builtin[m] })
	order, err := mods.order(ctx, wanted...)
	if err != nil {
		return nil, err
	}
	script := "#!/bin/sh\n# Loads what storage needs.\nfor m in " + strings.Join(order, " ") +
		"; do\n\t[ -d \"/sys/module/$m\" ] || insmod \"/lib/modules/$m.ko\"\ndone\nmkdir -p /etc /var/lib/drbd /run/drbd /var/lock\n[ -e /etc/mtab ] || ln -s /proc/mounts /etc/mtab\n"
	entries := append(mods.entries(), entry{name: "lib/storage", mode: typeFile | 0o755, data: []byte(script)})
	programs, err := programEntries(ctx, s, storagePrograms)
	if err != nil {
		return nil, err
	}
	return pack(append(entries, programs...))
}

// Programs makes a part of an initramfs, to come behind another part: programs of Debian's packages, by package, in /sbin, and their libraries. The
// packages stay in the cache directory dir.
func Programs(ctx context.Context, dir string, programs map[string][]string) ([]byte, error) {
	lock, err := flock.Wait(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("pack programs: wait for another builder in %s: %w", dir, err)
	}
	defer lock.Unlock()
	s, err := openStore(filepath.Join(dir, "packages"))
	if err != nil {
		return nil, fmt.Errorf("pack programs: %w", err)
	}
	entries, err := programEntries(ctx, s, programs)
	if err != nil {
		return nil, fmt.Errorf("pack programs: %w", err)
	}
	return pack(entries)
}

// programEntries are programs, by package, in /sbin, and their libraries.
func programEntries(ctx context.Context, s *store, wanted map[string][]string) (entries []entry, err error) {
	var packages []string
	binaries := map[string][]byte{}
	for pkg, programs := range wanted {
		packages = append(packages, pkg)
		if err := s.need(ctx, pkg); err != nil {
			return nil, err
		}
		files, err := s.files(ctx, pkg, func(name string) bool {
			return slices.Contains([]string{"sbin", "drbd", "bin"}, path.Base(path.Dir(name))) && slices.Contains(programs, path.Base(name))
		})
		if err != nil {
			return nil, err
		}
		for name, f := range files {
			at := strings.TrimPrefix(name, "usr/") // whatever Debian has merged
			if path.Dir(at) == "bin" {
				at = "sbin/" + path.Base(at) // before busybox's in PATH
			}
			if f.link != "" {
				entries = append(entries, entry{name: at, mode: typeSymlink | 0o777, data: []byte(path.Base(f.link))})
				continue
			}
			binaries[name] = f.data
			entries = append(entries, entry{name: at, mode: typeFile | 0o755, data: f.data})
		}
	}
	if len(entries) < len(wanted) {
		return nil, errors.New("the packages hold none of the programs")
	}
	slices.Sort(packages)
	libs, err := libraryEntries(ctx, s, packages, binaries)
	if err != nil {
		return nil, err
	}
	return append(entries, libs...), nil
}

// Pack makes a part of an initramfs of some files, by their path in the guest, to come behind another part; all can be executed.
func Pack(files map[string][]byte) ([]byte, error) {
	var entries []entry
	for name, data := range files {
		entries = append(entries, entry{name: name, mode: typeFile | 0o755, data: data})
	}
	return pack(entries)
}
