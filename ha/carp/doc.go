// Package carp is the Common Address Redundancy Protocol: its packets (Advert, Frame, Auth, Filter) and the election of one group as a
// machine without clock or socket (Machine), as ucarp, FreeBSD and OpenBSD do it.
package carp
