// Package arbiter keeps, on a third node or in an etcd, one compare-and-set record a group, which says who of its members may go on alone.
package arbiter
