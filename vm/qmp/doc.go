// Package qmp speaks to a running QEMU (QMP) and to the agent inside its guest (QGA), with a deadline on every wait and a bound on every line.
package qmp
