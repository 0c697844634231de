package vm

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// reword turns QEMU's last words into ours where we know what they mean. It is pure; the words stay in the guest's log as they were.
func reword(e *LaunchError, spec *Spec) error {
	all := strings.Join(e.Stderr, "\n")
	switch {
	case strings.Contains(all, `Failed to get "write" lock`), strings.Contains(all, `Failed to get shared "write" lock`),
		strings.Contains(all, `Failed to get "consistent read" lock`):
		return &ImageInUseError{Images: imagesOf(spec), LaunchError: e}
	case strings.Contains(all, "-vnc") && strings.Contains(all, "Address already in use"),
		strings.Contains(all, "Failed to find an available port"):
		return &DisplayTakenError{Address: vncPort(spec), LaunchError: e}
	case strings.Contains(all, "unsupported machine type"):
		e.hint = "this QEMU no longer has the machine that the guest was first started with; install one that has it"
	case strings.Contains(all, "Could not set up host forwarding"), strings.Contains(all, "Cannot allocate memory"),
		strings.Contains(all, "cannot set up guest memory"):
		e.hint = "the host has not that much memory: see `free -m`, then lower `memory` in vm.toml"
	case spec.Custom():
		e.hint = "the guest has qemu_args of its own in vm.toml: try without them"
	}
	return e
}

func imagesOf(spec *Spec) []string {
	var images []string
	for _, d := range spec.Disks {
		images = append(images, d.Image)
	}
	return images
}

func vncPort(spec *Spec) string {
	return net.JoinHostPort(spec.VNC.Listen.String(), strconv.Itoa(5900+spec.VNC.Display))
}

// ImageInUseError says that another QEMU has one of the images open.
type ImageInUseError struct {
	Images []string
	*LaunchError
}

func (e *ImageInUseError) Error() string {
	return fmt.Sprintf("an image is in use by another QEMU: %s", strings.Join(e.Images, ", "))
}

// Hint says how to find out who.
func (e *ImageInUseError) Hint() string {
	if len(e.Images) == 0 {
		return ""
	}
	return "see who has it open: fuser -v " + e.Images[0]
}

// DisplayTakenError says that another process listens where the guest's screen should be.
type DisplayTakenError struct {
	Address string
	*LaunchError
}

func (e *DisplayTakenError) Error() string {
	return fmt.Sprintf("the VNC display at %s is taken by another process", e.Address)
}

// Hint says how to find out who, and the way round.
func (e *DisplayTakenError) Hint() string {
	return "see who: ss -ltnp; or set `display = \"auto\"` under [vnc] in vm.toml"
}
