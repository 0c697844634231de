package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// The cables of both guests' eth0 end in a bridge; this machine is on it too, as the clients and as the arbiter.
const (
	tapA, tapB = "tapA", "tapB"
	clientAddr = "10.90.0.9"
	service    = "10.90.0.100:7000"
)

// plug makes the bridge in the bench's own namespace.
func plug() error {
	return each("ip link set lo up", "ip link add br0 type bridge forward_delay 0", "ip addr add "+clientAddr+"/24 dev br0", "ip link set br0 up",
		"ip tuntap add "+tapA+" mode tap", "ip tuntap add "+tapB+" mode tap", "ip link set "+tapA+" master br0 up", "ip link set "+tapB+" master br0 up")
}

// part keeps the guests' frames from each other on the service link; both still reach the clients.
func part(apart bool) error {
	state := map[bool]string{true: "on", false: "off"}[apart]
	return each("bridge link set dev "+tapA+" isolated "+state, "bridge link set dev "+tapB+" isolated "+state)
}

func each(commands ...string) error {
	for _, c := range commands {
		argv := strings.Fields(c)
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c, err, out)
		}
	}
	return nil
}
