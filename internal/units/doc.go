// Package units holds the small value types that the configuration files and the domain packages share: sizes, durations and MAC addresses.
package units
