package kvmha

import _ "embed"

// Reference is a kvmha.toml that holds every key once, each with its range and default in a comment.
//
//go:embed kvmha.reference.toml
var Reference string
