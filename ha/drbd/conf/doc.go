// Package conf reads drbd.conf(5), of DRBD 8.3, 8.4 and 9, as drbdadm would, with the place of every value. It starts no program and
// keeps no secret: of a shared-secret only a digest is left, and no error repeats one, as drbdadm's own errors do.
package conf
