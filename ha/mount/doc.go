// Package mount mounts and unmounts the file systems of a group, and names whoever keeps one from being let go.
package mount
