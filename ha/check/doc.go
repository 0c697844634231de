// Package check finds out whether what a group serves works: one file a kind of check, a pure policy that turns answers into green and red, and a Runner that asks each check in its own time.
package check
