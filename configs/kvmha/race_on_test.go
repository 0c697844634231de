//go:build race

package kvmha

// raceEnabled: the race detector makes everything several times slower.
const raceEnabled = true
