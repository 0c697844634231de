package configs

import (
	"fmt"

	"kvmctl/configs/strict"
	"kvmctl/vm"
)

// checkUplinks finds uplinks that cannot be one.
func checkUplinks(d *strict.Document, bridges []rawBridge) {
	uplinks, names := strict.Firsts[string]{}, map[string]bool{}
	for _, b := range bridges {
		if b.Name != nil {
			names[*b.Name] = true
		}
	}
	for i, b := range bridges {
		path := strict.Element("bridge", i)
		if b.Uplink == nil {
			if b.Address != nil && b.Address.Keep && !d.Bad[path+".uplink"] {
				d.Value(path+".address", `address = "keep" without an uplink: there is nothing to keep`, `uplink = "eth0"`)
			}
			continue
		}
		at, name := path+".uplink", *b.Uplink
		switch why := checkBridgeName(name); {
		case why != "":
			d.Value(at, fmt.Sprintf("bad interface name %q: %s", name, why), "")
			continue
		case names[name]:
			d.Value(at, fmt.Sprintf("%q is a bridge itself", name), "")
			continue
		}
		if line, ok := uplinks.Taken(d, name, at); ok {
			d.Value(at, fmt.Sprintf("%q is the uplink of the bridge in line %d already", name, line), "")
		}
	}
}

// checkNIC finds what a NIC asks of its bridge or model in vain.
func checkNIC(d *strict.Document, path string, nic vm.NIC, host Host) {
	if nic.VHost == vm.VHostOn && nic.Model != "virtio" && !d.Bad[path+".model"] {
		d.Value(path+".vhost", fmt.Sprintf("nic.vhost: the kernel cannot serve a NIC of model %q", nic.Model), `model = "virtio"`)
	}
	if nic.VLAN != 0 && nic.Trunk.Has(nic.VLAN) {
		d.Value(path+".vlan", fmt.Sprintf("nic.vlan %d is in trunk too: without a tag or with one, not both", nic.VLAN), "")
	}
	key := ""
	switch {
	case nic.VLAN != 0:
		key = "vlan"
	case len(nic.Trunk) > 0:
		key = "trunk"
	default:
		return
	}
	for _, b := range host.Bridges {
		if b.Name == nic.Bridge && !b.VLANFiltering {
			d.Value(path+"."+key, fmt.Sprintf("nic.%s: bridge %q keeps no VLANs apart", key, b.Name),
				fmt.Sprintf("vlan_filtering = true below [[bridge]] %s in %s%s/kvm.toml", b.Name, host.Root, configDir))
		}
	}
}
