package vm

import (
	"strconv"
	"strings"
)

func (b *builder) nics() {
	for i, n := range b.spec.NICs {
		b.arg("-netdev", b.netdev(i, n))
		b.device(b.withBoot(b.card(i, n, b.abi.NICs[i]), BootNetwork, i))
	}
}

// card is the device in front of the i-th netdev.
func (b *builder) card(i int, n NIC, at ABINIC) *opt {
	o := newOpt(nicDevice(n.Model)).set("id", "nic"+strconv.Itoa(i)).set("netdev", "net"+strconv.Itoa(i)).set("mac", at.MAC.String())
	b.onBusOrPort(o, at.Slot, at.Port)
	if n.Model == "virtio" && n.Queues > 1 {
		// one vector per queue and direction, one for configuration, one for control
		o.on("mq", true).set("vectors", strconv.Itoa(2*n.Queues+2))
	}
	if b.bootIndex(BootNetwork, i) == 0 {
		o.set("romfile", "") // no PXE ROM: it only costs time at boot
	}
	return o
}

func (b *builder) netdev(i int, n NIC) *opt {
	o := newOpt("tap").set("id", "net"+strconv.Itoa(i))
	fds, vhostfds := make([]string, n.Queues), make([]string, n.Queues)
	for q := range fds {
		fds[q] = b.w.fd(fdNIC(i, q))
		if n.VHost == VHostOn {
			vhostfds[q] = b.w.fd(fdVHost(i, q))
		}
	}
	plural := ""
	if n.Queues > 1 {
		plural = "s"
	}
	o.set("fd"+plural, strings.Join(fds, ":"))
	if n.VHost == VHostOn {
		o.on("vhost", true).set("vhostfd"+plural, strings.Join(vhostfds, ":"))
	}
	return o
}

func nicDevice(model string) string {
	if model == "virtio" {
		return "virtio-net-pci"
	}
	return model
}
