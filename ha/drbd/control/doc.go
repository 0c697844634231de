// Package control acts on DRBD's resources by drbdadm, and watches them by `drbdsetup events2`: each act has a deadline, is believed only when the state
// shows it, and is refused where drbdadm would say yes and do something else. It runs on Linux.
package control
