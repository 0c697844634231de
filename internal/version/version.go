// Package version tells what was built.
package version

// Version is stamped by the Makefile.
var Version = "dev"
