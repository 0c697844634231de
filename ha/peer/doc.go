// Package peer is the authenticated channel between the agents of one cluster: keys, pairing, and a fixed list of requests over TLS 1.3 with pinned keys.
package peer
