// Package e2e has no code of its own: its tests boot whole Debians, install kvmctl there, and see what the tests' machine cannot show.
package e2e
