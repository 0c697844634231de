// Package fence ends a peer for certain, and says so only then: by its host, by a power switch, or by a person's word.
package fence
