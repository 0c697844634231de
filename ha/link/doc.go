// Package link is where the agent meets the network: addresses with a kernel lifetime, ARP and neighbour discovery, carrier, the virtual MAC,
// and the packets that CARP travels in.
package link
