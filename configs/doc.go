// Package configs reads /etc/kvm/kvm.toml and every /etc/kvm/<vm>/vm.toml strictly: a valid guest comes out as a vm.Spec, and every mistake with its file, line and column, all in one run.
package configs
