//go:build race

package right

const fewer = 2 // faults: the race detector makes a search ten times longer
