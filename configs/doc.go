// Package configs reads /etc/kvm/kvm.toml and every /etc/kvm/<vm>/vm.toml strictly: a valid guest comes out as a vm.Spec, and every mistake with its file, line and column, all in one run.
package configs

import "kvmctl/configs/strict"

// Problem is one mistake in a configuration file, with its place; Problems is a sorted list of them.
type (
	Problem  = strict.Problem
	Problems = strict.Problems
)
