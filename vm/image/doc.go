// Package image reads what disk images say of themselves, and makes, changes and examines them by qemu-img.
package image
