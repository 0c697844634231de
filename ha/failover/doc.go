// Package failover decides, as a pure machine of values, when a group of things is active on this node, and in which order it gets there and lets go.
package failover
