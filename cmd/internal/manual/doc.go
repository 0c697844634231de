// Package manual writes manual pages in mdoc(7) from the commands' own help and from the reference files.
package manual
