// Package archtest holds the tree's own rules: who may import whom, how long a file may be, what the program links.
package archtest
