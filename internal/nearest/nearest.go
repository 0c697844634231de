// Package nearest finds the name that somebody most likely meant.
package nearest

import "strings"

// Find returns the one of names that is fewest typing slips away from word, the first of equals; ok is false where none
// is near enough to be worth asking about: a third of the longer word's letters, at least one. Case does not count.
func Find(word string, names []string) (name string, ok bool) {
	const longest = 64 // the distance takes time in the product of the lengths, and nobody mistypes more than that
	w := []rune(strings.ToLower(word))
	if len(w) > longest {
		return "", false
	}
	best := longest + 1
	for _, n := range names {
		r := []rune(strings.ToLower(n))
		if len(r) > longest {
			continue
		}
		if d := distance(w, r); d < best && d <= max(1, max(len(w), len(r))/3) {
			best, name = d, n
		}
	}
	return name, name != ""
}

// distance counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
