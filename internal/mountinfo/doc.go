// Package mountinfo reads the kernel's table of mounts.
package mountinfo
