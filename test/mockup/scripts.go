package main

// scripts are what the machines run, by their path there.
var scripts = map[string]string{
	// The shared service of varda: cmd/lined.
	"/lab/share": `#!/bin/sh
# start | stop | status
pid=/run/share.pid
runs() { [ -e $pid ] && kill -0 "$(cat $pid)" 2>/dev/null; }
case $1 in
start)
	runs && exit 0
	[ -e /run/share.broken ] && { echo "share: it is broken" >&2; exit 1; }
	setsid sh -c 'echo $$ >/run/share.pid; exec /lab/lined :445 ` + share + `/lines' </dev/null >/dev/null 2>&1 &
	while ! runs; do sleep 0.02; done ;;
stop)
	runs || { rm -f $pid; exit 0; }
	kill -9 "-$(cat $pid)"
	while runs; do sleep 0.02; done
	rm -f $pid ;;
status) runs || exit 3 ;;
esac
`,
	// A fence agent as fence-agents has them (FenceAgentAPI): its switch is at an address of the service link.
	"/lab/switch": `#!/bin/sh
while read -r line; do case $line in *=*) eval "${line%%=*}='${line#*=}'" ;; esac; done
case $action in
off | status) said=$(echo "$action $plug $node" | nc -w 20 ` + hostLAN + ` "$port") || { echo "switch: ` + hostLAN + ` does not answer" >&2; exit 1; } ;;
metadata) echo '<?xml version="1.0" ?><resource-agent name="switch"><parameters><parameter name="plug"/><parameter name="port"/><parameter name="node"/><parameter name="action"/></parameters></resource-agent>'; exit 0 ;;
*) exit 1 ;;
esac
case $said in
OFF) echo "Status: OFF"; [ "$action" = status ] && exit 2; exit 0 ;;
ON) echo "Status: ON"; exit 0 ;;
esac
echo "switch: it says '$said'" >&2
exit 1
`,
	// DNS and DHCP of olorin.
	"/lab/dns": `#!/bin/sh
pid=/run/dnsmasq.pid
runs() { [ -e $pid ] && kill -0 "$(cat $pid)" 2>/dev/null; }
case $1 in
start)
	runs && exit 0
	[ -e /run/dns.broken ] && { echo "dns: it is broken" >&2; exit 1; }
	dnsmasq --conf-file=/etc/dnsmasq.conf --pid-file=$pid ;;
stop)
	runs || exit 0
	kill "$(cat $pid)"
	while runs; do sleep 0.02; done
	rm -f $pid ;;
status) runs || exit 3 ;;
esac
`,
	"/etc/dnsmasq.conf": `user=root
group=root
bind-dynamic
interface=eth0
interface=lo
no-resolv
no-hosts
host-record=www.iut.example,10.2.0.80
dhcp-authoritative
no-ping
dhcp-range=10.2.9.1,10.2.9.250,1h
dhcp-leasefile=/run/dnsmasq.leases
`,
	"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
	"/etc/group":  "root:x:0:\n",
	// The disk below DRBD: good, or with errors at every sector.
	"/lab/disk": `#!/bin/sh -e
size=$(cat /sys/block/vda/size)
case $1 in
good) dmsetup table srv | grep -q error || exit 0; table="0 $size linear /dev/vda 0" ;;
bad) table="0 $size error" ;;
esac
dmsetup suspend --nolockfs --noflush srv
dmsetup load srv --table "$table"
dmsetup resume srv
`,
	// What a machine does once it is up, in place of its boot scripts.
	"/lab/boot": `#!/bin/sh -e
mkdir -p /var/lib/kvmha /var/log /run/kvmha /etc/drbd.d /usr/local/bin /var/lib/misc ` + share + `
ln -sf /bin/kvmha /usr/local/bin/kvmha
grep -q /var/lib/kvmha /proc/mounts || {
	sick=0
	e2fsck -p /dev/vdb >/dev/null 2>&1 || sick=$?
	[ $sick -lt 8 ] || mkfs.ext4 -q /dev/vdb # there is none
	mount -t ext4 /dev/vdb /var/lib/kvmha
}
[ -e /dev/mapper/srv ] || { # there is no udev
	dmsetup create srv --table "0 $(cat /sys/block/vda/size) linear /dev/vda 0"
	[ -e /dev/mapper/srv ] || ln -s /dev/dm-0 /dev/mapper/srv
}
`,
}
