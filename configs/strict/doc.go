// Package strict reads a TOML file strictly into structs whose tags say what each key takes: every mistake comes with its line and column and what could be typed instead, all of them in one run.
package strict
