package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvmctl/ha/hatest"
)

const (
	vhid     = 42
	password = "tpri"
	skewB    = 100 // of the node that stands by; the preferred one has 0
)

// contender is one of the programs that are measured against each other.
type contender struct {
	name  string
	start func(*rig, *hatest.Node) (*hatest.Process, error) // starts it on a node: "a" is preferred
	many  func(*rig, *hatest.Node, []netip.Addr) ([]*hatest.Process, error)
	check bool // it can watch a service

	beside func(*hatest.Node) (*hatest.Process, error) // what an installed system runs beside it; nil: nothing
	before func(*rig) error                            // what it needs before it is started the first time; nil: nothing
	ready  func(*rig) bool                             // besides that the preferred node has the address; nil: nothing
}

var (
	namesByCARP      = []string{"kvmha", "ucarp", "keepalived"}
	namesByHeartbeat = []string{"kvmha", "keepalived 0.1 s", "keepalived 0.01 s", "kvmha without its tick"}
)

func names(all []contender) (names []string) {
	for _, c := range all {
		names = append(names, c.name)
	}
	return names
}

// contenders in the order of the tables.
func (b *bench) contenders() []contender {
	return []contender{
		{name: "kvmha", start: b.kvmha, many: b.kvmhaMany, check: true, beside: b.tick},
		{name: "ucarp", start: ucarp, many: ucarpMany},
		{name: "keepalived", start: keepalived, many: keepalivedMany, check: true},
	}
}

// badService is the file whose presence makes a node's service fail.
func badService(n *hatest.Node) string { return filepath.Join(n.Dir(), "bad") }

func (b *bench) kvmha(r *rig, n *hatest.Node) (*hatest.Process, error) {
	text := group("web", vhid, r.vip, n.Name == "a")
	if r.cell.checked {
		text += fmt.Sprintf("restarts = 0\n[[group.web.check]]\ntype = \"exec\"\nrun = [\"/usr/bin/test\", \"!\", \"-e\", %q]\n"+
			"interval = \"1s\"\nfall = 3\nrise = 2\n", badService(n))
	}
	return b.agent(n, text)
}

func (b *bench) kvmhaMany(_ *rig, n *hatest.Node, addrs []netip.Addr) ([]*hatest.Process, error) {
	var text strings.Builder
	for i, a := range addrs {
		text.WriteString(group(fmt.Sprintf("g%d", i+1), i+1, a, true))
	}
	p, err := b.agent(n, text.String())
	return []*hatest.Process{p}, err
}

// group is the text of a group that takes the address back without waiting, as the other contenders do.
func group(name string, vhid int, vip netip.Addr, preferred bool) string {
	skew := skewB
	if preferred {
		skew = 0
	}
	return fmt.Sprintf("[group.%s]\ninterface = \"eth0\"\nvhid = %d\naddresses = [%q]\npassword = %q\nskew = %d\npreempt = true\n"+
		"preempt_delay = \"0s\"\ncarrier_up_delay = \"0s\"\n", name, vhid, vip, password, skew)
}

// agent starts a kvmha with this file below the node's directory.
func (b *bench) agent(n *hatest.Node, text string) (*hatest.Process, error) {
	root := filepath.Join(n.Dir(), "k")
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(root, "etc/kvmha.toml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	return n.StartCmd("kvmha", n.Command(context.Background(), b.bin, "--root", root, "run"))
}

// tick is kvmha-tick.service. It goes on when the agent is killed or stopped, and ends with the node.
func (b *bench) tick(n *hatest.Node) (*hatest.Process, error) {
	return n.StartCmd("tick", n.Command(context.Background(), b.bin, "tick"))
}

func ucarp(r *rig, n *hatest.Node) (*hatest.Process, error) {
	skew := skewB
	if n.Name == "a" {
		skew = 0
	}
	return n.UCARP(hatest.UCARP{VHID: vhid, Addr: r.vip, Password: password, Skew: skew, Preempt: true})
}

func ucarpMany(_ *rig, n *hatest.Node, addrs []netip.Addr) ([]*hatest.Process, error) {
	var all []*hatest.Process
	for i, a := range addrs {
		p, err := n.UCARP(hatest.UCARP{VHID: i + 1, Addr: a, Password: password, Preempt: true})
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func keepalived(r *rig, n *hatest.Node) (*hatest.Process, error) {
	return keepalivedAt(r, n, time.Second)
}

func keepalivedAt(r *rig, n *hatest.Node, interval time.Duration) (*hatest.Process, error) {
	k := hatest.Keepalived{VRID: vhid, Addrs: []netip.Addr{r.vip}, Priority: 100, Interval: interval}
	if n.Name == "a" {
		k.Priority = 150
	}
	if r.cell.checked {
		k.Blocks = fmt.Sprintf("vrrp_script service {\n  script \"/usr/bin/test ! -e %s\"\n  interval 1\n  fall 3\n  rise 2\n  user root\n}", badService(n))
		k.Instance = "track_script {\n    service\n  }"
	}
	return n.Keepalived(k)
}

func keepalivedMany(_ *rig, n *hatest.Node, addrs []netip.Addr) ([]*hatest.Process, error) {
	var text strings.Builder
	text.WriteString("global_defs {\n  router_id many\n  vrrp_version 3\n}\n")
	for i, a := range addrs {
		fmt.Fprintf(&text, "vrrp_instance g%d {\n  state BACKUP\n  interface %s\n  virtual_router_id %d\n  priority 150\n  advert_int 1\n"+
			"  garp_master_delay 1\n  virtual_ipaddress {\n    %s/32\n  }\n}\n", i+1, n.Interface, i+1, a)
	}
	base := filepath.Join(n.Dir(), "many")
	if err := os.WriteFile(base+".conf", []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	p, err := n.Start("keepalived", "keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", base+".conf",
		"--pid", base+".pid", "--vrrp_pid", base+".vrrp.pid")
	return []*hatest.Process{p}, err
}
