package hatest

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Keepalived is a keepalived with one VRRPv3 instance.
type Keepalived struct {
	VRID      int
	Addrs     []netip.Addr // of one family
	Priority  int          // 1–254
	Interval  time.Duration
	NoPreempt bool
	UseVMAC   bool
	Instance  string // further lines of the instance
	Blocks    string // further blocks, such as a vrrp_script
}

// Keepalived starts a keepalived on the node, in the foreground.
func (n *Node) Keepalived(k Keepalived) (*Process, error) {
	n.serial++
	base := filepath.Join(n.dir, fmt.Sprintf("keepalived.%d", n.serial))
	if err := os.WriteFile(base+".conf", []byte(k.config(n)), 0o600); err != nil {
		return nil, err
	}
	return n.Start("keepalived", "keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", base+".conf",
		"--pid", base+".pid", "--vrrp_pid", base+".vrrp.pid")
}

// config renders keepalived.conf(5).
func (k Keepalived) config(n *Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n  router_id %s\n  vrrp_version 3\n}\n", n.Name)
	if k.Blocks != "" {
		b.WriteString(k.Blocks + "\n")
	}
	fmt.Fprintf(&b, "vrrp_instance lab {\n  state BACKUP\n  interface %s\n  virtual_router_id %d\n  priority %d\n  advert_int %g\n"+
		"  garp_master_delay 1\n", n.Interface, k.VRID, k.Priority, k.Interval.Seconds())
	if k.NoPreempt {
		b.WriteString("  nopreempt\n")
	}
	if k.UseVMAC {
		b.WriteString("  use_vmac\n")
	}
	if k.Instance != "" {
		fmt.Fprintf(&b, "  %s\n", k.Instance)
	}
	b.WriteString("  virtual_ipaddress {\n")
	for _, a := range k.Addrs {
		fmt.Fprintf(&b, "    %s/%d\n", a, a.BitLen())
	}
	b.WriteString("  }\n}\n")
	return b.String()
}
