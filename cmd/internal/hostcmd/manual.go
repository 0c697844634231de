package hostcmd

import (
	"kvmctl/cmd/internal/cli"
	"kvmctl/cmd/internal/manual"
	"kvmctl/configs"
)

// manualFiles is what the overview tells of the places on disk; the names are those of vm.Layout.
var manualFiles = [][2]string{
	{"/etc/kvm/kvm.toml", "The host: bridges, defaults, limits. See kvm.toml(5)."},
	{"/etc/kvm/<vm>/vm.toml", "A guest. Its hooks and its VNC password lie beside it. See vm.toml(5)."},
	{"/var/lib/kvm/<vm>/", "What survives a reboot: the guest's disks unless placed elsewhere, abi.lock (what the guest sees of its machine), " +
		"its history and its console's log."},
	{"/run/kvm/<vm>/", "What belongs to a running guest: its sockets, its flight recorder, and the pidfile that QEMU keeps locked."},
}

// Manual gives all manual pages of kvmctl.
func Manual() []manual.Page {
	return manual.Program{Root: New(&cli.Env{Prog: "kvmctl"}), Files: manualFiles, Pages: []manual.FilePage{
		{Name: "kvm.toml", What: "configuration of the host of kvmctl's guests", Path: "/etc/kvm/kvm.toml", Reference: configs.HostReference},
		{Name: "vm.toml", What: "configuration of one of kvmctl's guests", Path: "/etc/kvm/<vm>/vm.toml", Reference: configs.GuestReference},
	}}.Manual()
}
