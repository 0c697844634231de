// Package hatest is a laboratory for whatever shares an address: nodes in network namespaces on one bridge, real ucarp and keepalived beside
// ours, cables that can be cut, and a client that tells who answered when.
package hatest
