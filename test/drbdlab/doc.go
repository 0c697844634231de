// Package drbdlab boots two small guests with a real DRBD between them: two cables that can be cut, a disk each, and programs run inside as if they were
// here. It is for tests and for what records DRBD's output.
package drbdlab
