package vm

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// reword turns QEMU's last words into ours where we know what they mean. It is pure; the words stay in the guest's log as they were.
func reword(e *LaunchError, spec *Spec, w *Wiring) error {
	all := strings.Join(e.Stderr, "\n")
	switch {
	case strings.Contains(all, `Failed to get "write" lock`), strings.Contains(all, `Failed to get shared "write" lock`),
		strings.Contains(all, `Failed to get "consistent read" lock`):
		return &ImageInUseError{Images: lockedImages(all, spec, w), LaunchError: e}
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

// lockedImages finds the image that QEMU could not lock: it knows only the set of descriptors. Without a set it may be any.
func lockedImages(said string, spec *Spec, w *Wiring) []string {
	var images, all []string
	for i, d := range spec.Disks {
		all = append(all, d.Image)
		for n, layer := range w.Chains[i] {
			first := fdDiskRO(i, n)
			if n == 0 && !d.ReadOnly {
				first = fdDisk(i, n)
			}
			if strings.Contains(said, "["+w.fdset(first)+"]") {
				images = append(images, layer.Path)
			}
		}
	}
	if len(images) == 0 {
		return all
	}
	return images
}

// vncPort names where the screen should have been; "" is anywhere.
func vncPort(spec *Spec) string {
	if spec.VNC.Auto {
		return ""
	}
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

// Refused marks the error as a refusal for safety: two QEMUs would write one image.
func (e *ImageInUseError) Refused() bool { return true }

// Hint says how to find out who.
func (e *ImageInUseError) Hint() string {
	if len(e.Images) == 0 {
		return ""
	}
	return "see who has it open: fuser -v " + e.Images[0]
}

// DisplayTakenError says that another process listens where the guest's screen should be.
type DisplayTakenError struct {
	Address string // "": all that a search may take
	By      string // who it is: "guest vm-varda", "sshd (pid 812)"; "": not found
	*LaunchError
}

func (e *DisplayTakenError) Error() string {
	if e.Address == "" {
		return fmt.Sprintf("%d VNC displays in a row are taken", vncSearch+1)
	}
	by := e.By
	if by == "" {
		by = "another process"
	}
	return fmt.Sprintf("the VNC display at %s is taken by %s", e.Address, by)
}

// Hint says how to find out who, and the way round.
func (e *DisplayTakenError) Hint() string {
	if e.Address == "" {
		return "see who: ss -ltnp; or set a `display` above them under [vnc] in vm.toml"
	}
	if e.By != "" {
		return "set another `display`, or \"auto\", under [vnc] in vm.toml"
	}
	return "see who: ss -ltnp; or set `display = \"auto\"` under [vnc] in vm.toml"
}
