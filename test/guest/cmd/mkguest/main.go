// Command mkguest builds the test guest and copies it into a directory: vmlinuz, initrd and initrd-agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"kvmctl/internal/atomicfile"
	"kvmctl/test/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "mkguest: error: cannot %v\n", err)
		if h := (interface{ Hint() string })(nil); errors.As(err, &h) {
			fmt.Fprintf(os.Stderr, "mkguest: hint: %s\n", h.Hint())
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("mkguest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "", "copy the images into this `directory`")
	cache := flags.String("cache", guest.DefaultDir(), "keep packages and images in this `directory`")
	kernel := flags.String("kernel", guest.DefaultKernel, "take this Debian `package`'s kernel")
	refresh := flags.Bool("refresh", false, "ask apt for the packages of today")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *refresh {
		if err := guest.Refresh(*cache); err != nil {
			return err
		}
	}
	images, err := guest.BuildWith(ctx, *cache, *kernel)
	if err != nil {
		return err
	}
	if *out != "" {
		if images, err = copyTo(*out, images); err != nil {
			return fmt.Errorf("copy images: %w", err)
		}
	}
	_, err = fmt.Fprintf(stdout, "kernel %s\ninitrd %s\nagent  %s\n\nqemu-system-x86_64 -accel tcg -m %d -nographic -no-reboot "+
		"-kernel %s -initrd %s -append '%s ip=dhcp' -nic user,model=virtio-net-pci\n",
		images.Kernel, images.Initrd, images.AgentInitrd, guest.MinMemory, images.Kernel, images.Initrd, guest.Cmdline)
	return err
}

func copyTo(dir string, images guest.Images) (guest.Images, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return images, err
	}
	for _, path := range []*string{&images.Kernel, &images.Initrd, &images.AgentInitrd} {
		data, err := os.ReadFile(*path)
		if err != nil {
			return images, err
		}
		*path = filepath.Join(dir, filepath.Base(*path))
		if err := atomicfile.Write(*path, data, 0o644); err != nil {
			return images, err
		}
	}
	return images, nil
}
