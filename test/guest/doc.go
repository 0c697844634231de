// Package guest builds a small Linux guest (Debian's cloud kernel, busybox, the QEMU guest agent) that tests and the demo boot in seconds.
package guest
