// Package parttable finds the partitions of a disk and the file systems in them, from bytes that a guest may have chosen.
package parttable
