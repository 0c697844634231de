// Package mount makes the file systems in a disk image visible on the host, and undoes that again, whatever part of it is gone.
package mount
