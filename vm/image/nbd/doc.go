// Package nbd agrees with an NBD server on what it shows, and has the kernel make a block device of it.
package nbd
