package configs

import _ "embed"

// GuestReference is a vm.toml that holds every key once, each with its range and default in a comment.
//
//go:embed vm.reference.toml
var GuestReference string

// HostReference is the same of kvm.toml.
//
//go:embed kvm.reference.toml
var HostReference string
