package link

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestMentionsNamesTheLine(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/network/interfaces":                                 "auto eth0\n# address 10.77.0.240\niface eth0 inet static\n\taddress 10.77.0.240/24\n\tgateway 10.77.0.1\n",
		"etc/network/interfaces.d/vip":                           "iface eth0:0 inet static\n  address 10.77.0.24\n",
		"etc/systemd/network/a.network":                          "[Network]\nAddress=fd77:0:0::00f0/64\nAddress=10.77.0.240/32\n",
		"etc/netplan/50.yaml":                                    "network:\n  ethernets:\n    eth0:\n      addresses: [10.77.0.5/24, \"10.77.0.240/24\"]\n",
		"etc/NetworkManager/system-connections/lan.nmconnection": "[ipv4]\naddress1=10.77.0.240/24,10.77.0.1\n",
		"etc/hosts": "10.77.0.240 shared\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for addr, want := range map[string][]string{
		"10.77.0.240": {"etc/NetworkManager/system-connections/lan.nmconnection:2", "etc/netplan/50.yaml:4", "etc/network/interfaces:4", "etc/systemd/network/a.network:3"},
		"fd77::f0":    {"etc/systemd/network/a.network:2"},
		"10.77.0.2":   nil,
	} {
		var got []string
		for _, m := range Mentions(root, netip.MustParseAddr(addr)) {
			m.File, _ = filepath.Rel(root, m.File)
			got = append(got, m.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

func FuzzMentions(f *testing.F) {
	f.Add("address1=10.77.0.240/24,10.77.0.1")
	f.Fuzz(func(_ *testing.T, line string) { _ = mentions(line, vip) })
}
