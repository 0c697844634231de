// Package ping asks an address for an ICMP echo (RFC 792, RFC 4443).
package ping
