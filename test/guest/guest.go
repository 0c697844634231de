package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/flock"
)

// What the guest prints, and what to boot it with.
const (
	// Ready is at the start of the line that the serial console and the screen show when the network and the power
	// button work: "guest ready after 1.93s 10.77.0.2/24".
	Ready = "guest ready"
	// Prompt is what the shell on both consoles prints when it waits for a line. Nobody logs in.
	Prompt = "guest# "
	// Off is printed by whatever takes the guest down in order.
	Off = "guest powers off"
	// Hangs is printed instead of Ready by a guest with `hang`.
	Hangs = "guest hangs, as it was told"
	// Cmdline is the part of the kernel's command line that every use shares: text on the screen, shell and messages on
	// the serial port. A kernel under tcg on a busy machine finds its timer dead otherwise, and panics.
	Cmdline = "console=tty0 console=ttyS0 quiet no_timer_check"
	// MinMemory is the least that the guest runs well with, in MiB.
	MinMemory = 128
)

// Words for the kernel's command line, beside Cmdline. With an address: ip=10.77.0.2/24, ip=dhcp (ip1, ip2, ip3 for further
// NICs), gw=10.77.0.1, host=NAME. To misbehave:
const (
	NoButton     = "nobutton"      // ignores the power button
	SlowButton   = "slow="         // + seconds: takes so long to power off when the button is pressed
	NoAgent      = "noagent"       // leaves the agent's channel alone
	MuteAgent    = "mute"          // opens the agent's channel and never answers
	Hang         = "hang"          // never becomes ready and ignores everything
	Panic        = "panic"         // the kernel panics when ready (say panic=-1 beside it to have it reboot at once)
	Exit         = "exit="         // + seconds: powers off by itself
	FloodConsole = "flood=console" // writes to the serial console as fast as it can
	FloodEvents  = "flood=events"  // makes QEMU write ACPI_DEVICE_OST events as fast as it can
	FloodDisk    = "flood=disk"    // reads the first sector of every disk for ever: BLOCK_IO_ERROR each time, if it is a bad one
	FloodReset   = "flood=reset"   // reboots as soon as it is ready, for ever
)

// DefaultKernel is the meta-package of the kernel that boots fastest.
const DefaultKernel = "linux-image-cloud-amd64"

// Images are files to hand to QEMU's -kernel and -initrd. They are shared and read-only.
type Images struct {
	Kernel      string // path of vmlinuz
	Initrd      string // path of the initramfs without agent
	AgentInitrd string // path of the initramfs with Debian's qemu-guest-agent: boots about half a second later
	Release     string // the kernel's, as uname -r has it
}

func imagesIn(home, release string) Images {
	return Images{
		Kernel:      filepath.Join(home, "vmlinuz"),
		Initrd:      filepath.Join(home, "initrd"),
		AgentInitrd: filepath.Join(home, "initrd-agent"),
		Release:     release,
	}
}

// done is the record of a build, relative to the cache, which may be moved.
type done struct {
	Home    string `json:"home"`
	Release string `json:"release"`
}

// DefaultDir is KVM_TEST_CACHE, else .cache/guest beside the go.mod at or above the working directory. It is empty when there is neither.
func DefaultDir() string {
	if dir := os.Getenv("KVM_TEST_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", "guest")
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// Build returns the images in the cache directory dir, and makes them first when they are not there. Packages come from apt
// and stay in the cache: with a filled cache there is no network and no waiting. Builders in other processes wait for
// each other until ctx ends. A missing package is a *PackageError.
func Build(ctx context.Context, dir string) (Images, error) {
	return BuildWith(ctx, dir, DefaultKernel)
}

// BuildWith is Build with another of Debian's kernels, such as linux-image-amd64, which has e1000 and AHCI.
func BuildWith(ctx context.Context, dir, kernelPackage string) (Images, error) {
	if dir == "" {
		return Images{}, errors.New("build guest: no cache directory: set KVM_TEST_CACHE")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Images{}, fmt.Errorf("build guest: %w", err)
	}
	recipe, err := recipeID(kernelPackage)
	if err != nil {
		return Images{}, fmt.Errorf("build guest: %w", err)
	}
	record := filepath.Join(dir, kernelPackage+"-"+recipe+".json")
	if images, ok := built(record); ok {
		return images, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Images{}, fmt.Errorf("build guest: %w", err)
	}
	lock, err := flock.Wait(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return Images{}, fmt.Errorf("build guest: wait for another builder in %s: %w", dir, err)
	}
	defer lock.Unlock()
	if images, ok := built(record); ok { // by that other builder
		return images, nil
	}
	result, err := build(ctx, dir, kernelPackage, recipe)
	if err != nil {
		return Images{}, fmt.Errorf("build guest: %w", err)
	}
	data, err := json.MarshalIndent(result, "", "\t")
	if err == nil {
		err = atomicfile.Write(record, append(data, '\n'), 0o644)
	}
	if err != nil {
		return Images{}, fmt.Errorf("build guest: record images: %w", err)
	}
	return imagesIn(filepath.Join(dir, result.Home), result.Release), nil
}

// Refresh forgets what is in the cache directory dir, so that the next Build asks apt for the packages of today.
func Refresh(dir string) error {
	records, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return fmt.Errorf("forget guest in %s: %w", dir, err)
	}
	for _, path := range append(records, filepath.Join(dir, "packages", "packages.json")) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget guest: %w", err)
		}
	}
	return nil
}

// built reads the record of an earlier build and checks that its files are still there.
func built(record string) (Images, bool) {
	data, err := os.ReadFile(record)
	if err != nil {
		return Images{}, false
	}
	var d done
	if json.Unmarshal(data, &d) != nil || !filepath.IsLocal(d.Home) {
		return Images{}, false
	}
	images := imagesIn(filepath.Join(filepath.Dir(record), d.Home), d.Release)
	for _, path := range []string{images.Kernel, images.Initrd, images.AgentInitrd} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			return Images{}, false
		}
	}
	return images, true
}

// recipeID changes whenever this package would put something else into the guest.
func recipeID(kernelPackage string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "recipe 2", kernelPackage, drivers)
	h.Write(floodEvents())
	for _, name := range slices.Sorted(maps.Keys(places)) {
		data, err := rootfs.ReadFile("rootfs/" + name)
		if err != nil {
			return "", fmt.Errorf("read built-in file: %w", err)
		}
		fmt.Fprintln(h, name, places[name], len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

func build(ctx context.Context, dir, kernelPackage, recipe string) (done, error) {
	s, err := openStore(filepath.Join(dir, "packages"))
	if err != nil {
		return done{}, err
	}
	pkg, err := s.kernel(ctx, kernelPackage)
	if err != nil {
		return done{}, err
	}
	if err := s.need(ctx, pkg, busyboxPackage); err != nil {
		return done{}, err
	}
	kernel, err := s.kernelFiles(ctx, pkg)
	if err != nil {
		return done{}, err
	}
	release := strings.TrimPrefix(pkg, "linux-image-")
	vmlinuz, ok := kernel["boot/vmlinuz-"+release]
	if !ok {
		return done{}, &PackageError{pkg, fmt.Errorf("no boot/vmlinuz-%s in it", release)}
	}
	base, err := baseEntries(ctx, s, kernel)
	if err != nil {
		return done{}, err
	}
	agent, err := agentEntries(ctx, s)
	if err != nil {
		return done{}, err
	}
	initrd, err := pack(base)
	if err != nil {
		return done{}, err
	}
	more, err := pack(agent)
	if err != nil {
		return done{}, err
	}
	files := map[string][]byte{"vmlinuz": vmlinuz.data, "initrd": initrd, "initrd-agent": slices.Concat(initrd, more)}
	home, err := publish(dir, release, recipe, s, files)
	if err != nil {
		return done{}, err
	}
	return done{Home: home, Release: release}, nil
}

// kernelFiles are what a kernel's package has for a guest.
func (s *store) kernelFiles(ctx context.Context, pkg string) (map[string]file, error) {
	return s.files(ctx, pkg, func(name string) bool {
		return moduleName(name) != "" || filepath.Base(name) == "modules.builtin" || strings.HasPrefix(name, "boot/vmlinuz-")
	})
}

// publish puts the files into a directory of dir named after everything that went into them, and returns that name. It
// appears whole or not at all.
func publish(dir, release, recipe string, s *store, files map[string][]byte) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, recipe)
	for _, pkg := range slices.Sorted(maps.Keys(s.record.Packages)) {
		fmt.Fprintln(h, s.record.Packages[pkg]) // the file's name has the version in it
	}
	name := release + "-" + hex.EncodeToString(h.Sum(nil))[:12]
	home := filepath.Join(dir, name)
	if same(home, files) {
		return name, nil
	}
	tmp, err := os.MkdirTemp(dir, ".tmp-")
	if err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", fmt.Errorf("open directory to readers: %w", err)
	}
	for file, data := range files {
		if err := os.WriteFile(filepath.Join(tmp, file), data, 0o644); err != nil {
			return "", fmt.Errorf("write image: %w", err)
		}
	}
	if err := os.RemoveAll(home); err != nil {
		return "", fmt.Errorf("remove broken images: %w", err)
	}
	if err := os.Rename(tmp, home); err != nil {
		return "", fmt.Errorf("publish images: %w", err)
	}
	return name, nil
}

// same reports whether dir already has exactly these files.
func same(dir string, files map[string][]byte) bool {
	for name, data := range files {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(have, data) {
			return false
		}
	}
	return true
}
