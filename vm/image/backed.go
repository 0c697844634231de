package image

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Backed reports whether the image at path may be based on another. It reads 16 bytes: a host has hundreds of images, few of them
// based on anything, and each start has to know. Whatever cannot be read may be; Chain tells.
func Backed(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err != unix.ENOENT
	}
	defer unix.Close(fd)
	var start [16]byte
	n, err := unix.Pread(fd, start[:], 0)
	return err != nil || saysBacked(start[:max(0, n)])
}

// saysBacked reads the beginning of a qcow2 header (QEMU, docs/interop/qcow2.txt): magic, version, offset of the backing file's name. Version 1
// has it at the same place. What is no qcow2 is based on nothing that we take.
func saysBacked(start []byte) bool {
	if !bytes.HasPrefix(start, []byte(qcow2Magic)) {
		return false
	}
	return len(start) < 16 || binary.BigEndian.Uint64(start[8:]) != 0
}
