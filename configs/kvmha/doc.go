// Package kvmha reads /etc/kvmha.toml strictly: a valid file comes out as an ha.Spec, and every mistake with its line and column, all in one run.
package kvmha
