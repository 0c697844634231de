package explain

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/check"
	"kvmctl/ha/confsync"
	"kvmctl/ha/peer"
)

var update = flag.Bool("update", false, "rewrite the expected sentences in testdata")

func group(name string, edit func(g *ha.Group)) ha.Group {
	g := ha.DefaultGroup(name)
	g.Interface, g.VHID, g.Addresses, g.Password = "eth0", 1, []netip.Addr{netip.MustParseAddr("10.2.0.10")}, ha.NewSecret("hunter2")
	edit(&g)
	return g
}

func skew(n int) *int { return &n }

func aCheck(t ha.CheckType, name string, active bool) ha.Check {
	c := ha.DefaultCheck(t)
	c.Name, c.ActiveOnly, c.Target, c.Unit = name, active, "10.2.0.1", "named.service"
	return c
}

var mail = ha.Mail{Relay: "mail.example.org:25", TLS: ha.MailStartTLS, From: "kvmha@example.org", To: []string{"a@example.org", "b@example.org"}}

func TestWhatFilesMean(t *testing.T) {
	tests := []struct {
		name  string
		spec  ha.Spec
		facts Facts
	}{
		{name: "nothing"},
		{name: "little", spec: ha.Spec{Groups: []ha.Group{group("web", func(*ha.Group) {})}}},
		{name: "ucarp", spec: ha.Spec{Mail: mail, Groups: []ha.Group{group("dns", func(g *ha.Group) {
			g.Peer, g.PeerSkew, g.Preempt = ha.PeerUCARP, skew(100), true
			scripts := ha.DefaultUnit(ha.UnitUCARP, "vip scripts")
			scripts.Start = []string{"/etc/up"}
			g.Units = []ha.Unit{ha.DefaultUnit(ha.UnitSystemd, "named.service"), ha.DefaultUnit(ha.UnitSysV, "isc-dhcp-server"), scripts}
			g.Checks = []ha.Check{aCheck(ha.CheckTCP, "named answers", true), aCheck(ha.CheckPing, "gateway", false), aCheck(ha.CheckSystemd, "named runs", true)}
		})}}, facts: Facts{
			Interfaces: map[string]bool{"eth0": true}, AtBoot: map[string][]string{"named.service": nil, "isc-dhcp-server": {"/etc/rc3.d/S03isc-dhcp-server"}},
		}},
		{name: "bsd", spec: ha.Spec{Mail: mail, Webhook: ha.Webhook{URL: "https://alerts/x"}, Groups: []ha.Group{group("fw", func(g *ha.Group) {
			g.Peer, g.Skew, g.PeerSkew, g.Preempt, g.IgnoreCarrier, g.Probe = ha.PeerBSD, 100, skew(0), true, true, false
			g.Addresses = append(g.Addresses, netip.MustParseAddr("fd00::10"))
			g.Checks, g.OnFailure, g.Remind = []ha.Check{aCheck(ha.CheckPing, "gateway", false)}, ha.FailureStay, 0
			g.VirtualMAC = true
		})}}, facts: Facts{Tick: true, Interfaces: map[string]bool{"eth0": false}}},
		{name: "heartbeats", spec: ha.Spec{Mail: mail, Channel: ha.Channel{Listen: []string{":4694"}},
			Peers: []peer.Node{{Name: "b", Role: peer.Member, Addresses: make([]netip.AddrPort, 2)}, {Name: "witness", Role: peer.Arbiter}},
			Syncs: []confsync.Job{{Name: "zones", Group: "web", Paths: []string{"/etc/bind/"}, Every: 5 * time.Minute,
				At: confsync.TimeOfDay{Set: true, Hour: 3, Minute: 30}, OnChange: true}, {Name: "other", Group: "lb"},
				{Name: "dhcp", Group: "web", Paths: []string{"/etc/dhcp/", "/etc/a"}, Validate: []string{"/usr/sbin/dhcpd", "-t"}, Reload: []string{"/bin/systemctl", "restart", "dhcpd"}}},
			Groups: []ha.Group{group("web", func(g *ha.Group) {
				g.PeerSkew = skew(100)
				g.Addresses = slices.Repeat(g.Addresses, 33)
			}), group("ucarp", func(g *ha.Group) { g.Peer, g.PeerSkew = ha.PeerUCARP, skew(100) })}}, facts: Facts{Paired: map[string]bool{"b": true}, Tick: true,
			Private: map[string][]confsync.Private{"zones": {{Path: "/etc/bind/a.jnl", More: 3, What: "a journal of BIND's", Exclude: "*.jnl"},
				{Path: "/etc/bind/rndc.key", What: "the key to this machine's BIND", Exclude: "rndc.key"}},
				"dhcp": {{Path: "/etc/a", What: "the id of this machine"}}}}},
		{name: "sids", spec: ha.Spec{Mail: mail, Peers: []peer.Node{{Name: "varda2", Role: peer.Member}}, Groups: []ha.Group{group("files", func(g *ha.Group) {
			for _, name := range []string{"not asked", "alike", "other", "no answer"} {
				c := aCheck(ha.CheckSID, name, true)
				c.SID = check.SID{Peer: "varda2", DomainOnly: name == "alike"}
				g.Checks = append(g.Checks, c)
			}
		})}}, facts: Facts{SIDs: map[string]Compared{
			"files/alike":     {Verdict: check.Pass},
			"files/other":     {Verdict: check.Fail, Reason: "the local SID here is S-1-5-21-1, and not the domain's: net setlocalsid S-1-5-21-2"},
			"files/no answer": {Verdict: check.NoIdea, Reason: "varda2 does not tell its SIDs: reach varda2: connection refused"},
		}}},
		{name: "arbiter", spec: ha.Spec{Arbiter: []arbiter.Group{{Name: "mail", Members: []string{"a", "b"}}}}},
		{name: "etcd", spec: ha.Spec{Node: "w", Arbiter: []arbiter.Group{{Name: "mail", Members: []string{"a", "b"}}},
			Etcd: arbiter.EtcdAt{Endpoints: []string{"https://10.2.0.21:2379", "https://10.2.0.22:2379", "https://10.2.0.23:2379"}, Prefix: arbiter.EtcdPrefix}}},
		{name: "etcdhere", spec: ha.Spec{Node: "a", Arbiter: []arbiter.Group{{Name: "mail", Members: []string{"a", "b"}}},
			Etcd: arbiter.EtcdAt{Endpoints: []string{"http://127.0.0.1:2379"}, Prefix: arbiter.EtcdPrefix}}},
		{name: "member", spec: ha.Spec{Mail: mail, Peers: []peer.Node{{Name: "b", Role: peer.Member}, {Name: "witness", Role: peer.Arbiter}}, Groups: []ha.Group{group("web", func(*ha.Group) {})}}},
		{name: "storagename", spec: stored("a", nil, nil)},
		{name: "storagethere", spec: stored("b", &pdu, nil)},
		{name: "storagearbiter", spec: stored("arbiter", nil, nil)},
		{name: "storagefence", spec: stored("fence", &pdu, nil)},
		{name: "storagemanual", spec: stored("fence", &human, nil), facts: Facts{Unsafe: []error{errors.New("/etc/fstab:3:1: mounts /dev/drbd0 on /srv at boot")}}},
		{name: "fast", spec: ha.Spec{Command: ha.Command{Argv: []string{"/usr/bin/alert"}}, Groups: []ha.Group{group("lb", func(g *ha.Group) {
			g.Base, g.Skew, g.PeerSkew = 0, 26, skew(52)
			g.Units = []ha.Unit{ha.DefaultUnit(ha.UnitSystemd, "haproxy.service")}
			g.Checks = []ha.Check{aCheck(ha.CheckTCP, "haproxy answers", true)}
			g.Order = []ha.Stage{ha.StageUnits, ha.StageAddress}
		}), group("web", func(g *ha.Group) { g.PeerSkew = skew(0); g.Skew = 100; g.VHID = 2 })}}, facts: Facts{Missing: map[string]bool{"haproxy.service": true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			for _, s := range Explain(tt.spec, tt.facts) {
				fmt.Fprintf(&b, "%s %s: %s\n", s.Group, s.Kind, s.Text)
				if s.Fix != "" {
					fmt.Fprintf(&b, "\ttype: %s\n", s.Fix)
				}
			}
			file := "testdata/" + tt.name + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); diff != "" {
				t.Errorf("sentences (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTimes holds the arithmetic against what was measured or is defined elsewhere.
func TestTimes(t *testing.T) {
	ucarp := group("g", func(g *ha.Group) { g.Peer, g.PeerSkew = ha.PeerUCARP, skew(100) })
	standby := group("g", func(g *ha.Group) { g.Skew, g.PeerSkew = 100, skew(0) })
	little, much := lifetime(ha.Spec{}, false), lifetime(ha.Spec{}, true)
	tests := []struct {
		name      string
		got, want time.Duration
	}{
		{"interval of 1/100: 1.3906 s (ucarp on the wire: 1.383 to 1.392)", interval(1, 100), 1390625 * time.Microsecond},
		{"dead interval of 1/100: carp(4), 3×base + skew/256", dead(3, 1, 100), 3390625 * time.Microsecond},
		{"OpenBSD's base 0: 3×skew/256", dead(3, 0, 26), 78 * time.Second / 256},
		{"takeover from a ucarp with 100 in its crash: at most 3 s", second(noticeHere(&ucarp)), 3 * time.Second},
		{"ucarp's own takeover was measured at up to 5.42 s", second(noticeThere(&ucarp)), 5490625 * time.Microsecond},
		{"the earliest takeover there: the advert was just due", first(noticeThere(&ucarp)), 2390625 * time.Microsecond},
		{"takeover by the standby of a 0/100 pair", second(noticeHere(&standby)), 3390625 * time.Microsecond},
		{"killed agent, lease of 1 s, peer with skew 100: no dual address", dual(&ucarp, little.quiet, 0), 0},
		{"… with the last advert lost, too", dual(&ucarp, little.quiet, 1), 0},
		{"… with a lease that ends late, and a lost advert", dual(&ucarp, little.worst, 1), 2*time.Second + 2400*time.Millisecond - 3390625*time.Microsecond},
		{"… with the tick", dual(&ucarp, much.worst, 1), 0},
		{"a check 1 s × 3 that is refused at once, just before its look", first(redAfter(&ha.Check{Interval: time.Second, Timeout: time.Second, Fall: 3})), 2 * time.Second},
		{"… that hangs, just after its look", second(redAfter(&ha.Check{Interval: time.Second, Timeout: time.Second, Fall: 3})), 4 * time.Second},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func first(a, _ time.Duration) time.Duration  { return a }
func second(_, b time.Duration) time.Duration { return b }

func TestMoreThan32AddressesHaveLongerLeases(t *testing.T) {
	var s ha.Spec
	for i := range 33 {
		s.Groups = append(s.Groups, group(fmt.Sprint("g", i), func(*ha.Group) {}))
	}
	if got, few := lifetime(s, false), lifetime(ha.Spec{Groups: s.Groups[:32]}, false); got.quiet != few.quiet+time.Second || got.worst != few.worst+time.Second {
		t.Errorf("33: %+v, 32: %+v", got, few)
	}
}
