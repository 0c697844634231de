// Package drbd reads what DRBD 8.2 to 9 says of its resources, in each form it has (/proc/drbd, drbdsetup status, drbdsetup events2), as one kind of value.
package drbd
