// Package drbd reads what DRBD 8.2 to 9 says of its resources, in each form it has (/proc/drbd, drbdsetup status, drbdsetup events2), as one kind of value, and
// in the kernel's log why one is StandAlone. testdata/8.4 was recorded from two guests: `go run ./test/drbdlab/cmd/record ha/drbd/testdata/8.4` as root.
package drbd
