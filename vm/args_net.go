package vm

import (
	"fmt"
	"strconv"
	"strings"
)

func (b *builder) nics() {
	for i, n := range b.spec.NICs {
		id := fmt.Sprintf("nic%d", i)
		b.arg("-netdev", b.netdev(i, n))
		o := newOpt(nicDevice(n.Model)).set("id", id).set("netdev", "net"+strconv.Itoa(i)).set("mac", b.abi.NICs[i].MAC.String())
		b.onBus(o, b.abi.NICs[i].Slot)
		if n.Model == "virtio" && n.Queues > 1 {
			// one vector per queue and direction, one for configuration, one for control
			o.on("mq", true).set("vectors", strconv.Itoa(2*n.Queues+2))
		}
		if b.bootIndex(BootNetwork, i) == 0 {
			o.set("romfile", "") // no PXE ROM: it only costs time at boot
		}
		b.device(b.withBoot(o, BootNetwork, i))
	}
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
