//go:build race

package right

const fewer = 1 // numbers, and twice as many faults: the race detector makes a search ten times longer
