// Package audit keeps one record of every change of role, so that `kvmha log` can say who was active when, and why.
package audit
