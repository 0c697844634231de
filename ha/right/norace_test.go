//go:build !race

package right

const fewer = 0
