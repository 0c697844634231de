// Package storage joins what one group knows of its disks (package drbd), of its peer and of the right to be alone (package right): it tells the failover
// machine what has changed, and carries out the machine's steps. It decides nothing by itself.
package storage
