// Command bench measures kvmctl against raw QEMU and libvirt on the same guests, in turn, and prints the table of docs/performance.md.
package main
