// Package debguest makes a whole Debian machine, with systemd and a stock kernel, boots it under QEMU without KVM, and runs commands
// in it: for what the tests' own machine cannot show.
package debguest
