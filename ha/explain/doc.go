// Package explain says in plain sentences what a kvmha.toml promises, what it cannot rule out, and what is left to do; all of it is pure.
package explain
