//go:build !race

package kvmha

const raceEnabled = false
