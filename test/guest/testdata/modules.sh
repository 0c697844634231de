load() {
	case $1 in
	virtio_pci) set -- virtio_ring virtio virtio_pci ;;
	virtio_net) set -- virtio_ring virtio failover net_failover virtio_net ;;
	button) set -- button ;;
	evdev) set -- evdev ;;
	*) return 1 ;;
	esac
	for m in "$@"; do
		[ -d "/sys/module/$m" ] || insmod "/lib/modules/$m.ko"
	done
}

known() {
	case $1 in
	pci:v00001AF4*) load virtio_pci ;;
	virtio:d00000001v*) load virtio_net ;;
	acpi:LNXPWRBN:*) load button ;;
	acpi:PNP0C0C:*) load button ;;
	esac
}
