package kvmha

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	hacheck "kvmctl/ha/check"
	"kvmctl/ha/confsync"
	"kvmctl/ha/peer"
)

// compare looks at netip values by value.
var compare = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})}

// secret is a file with a password, a certificate or a key, as it should be.
func secret(path string) (File, error) {
	cert, key := etcdPair()
	switch {
	case strings.HasSuffix(path, ".pem"):
		return File{Text: cert, Mode: 0o644}, nil
	case strings.HasSuffix(path, ".key"):
		return File{Text: key, Mode: 0o600}, nil
	}
	return File{Text: []byte("hunter2\n"), Mode: 0o600}, nil
}

// etcdPair is a certificate, which is its own CA's, with its key.
var etcdPair = sync.OnceValues(func() (cert, key []byte) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	own := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<37, 0)}
	der, err := x509.CreateCertificate(rand.Reader, own, own, public, private)
	if err != nil {
		panic(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
})

func TestTheReferenceLoads(t *testing.T) {
	got, problems := Parse("/etc/kvmha.toml", File{Text: []byte(Reference), Mode: 0o644}, secret)
	for _, p := range problems {
		t.Error(p, p.Hint())
	}
	standby := 100
	g := ha.DefaultGroup("dns")
	g.Description, g.Interface, g.VHID = "DNS of the office", "eth0", 1
	g.Addresses = []netip.Addr{netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("fd00:2::10")}
	g.Password, g.PeerSkew, g.Unicast, g.Preempt = ha.NewSecret("hunter2"), &standby, []netip.Addr{netip.MustParseAddr("10.2.0.2")}, true
	g.Hooks = ha.Hooks{Active: []string{"/etc/kvmha/hook", "active"}, Standby: []string{"/etc/kvmha/hook", "standby"},
		Waiting: []string{"/etc/kvmha/hook", "waiting"}, Timeout: 30 * time.Second}
	command, scripts := ha.DefaultUnit(ha.UnitCommand, "leases"), ha.DefaultUnit(ha.UnitUCARP, "vip scripts")
	command.Start, command.Stop, command.Status = []string{"/usr/local/sbin/leases", "start"}, []string{"/usr/local/sbin/leases", "stop"},
		[]string{"/usr/local/sbin/leases", "status"}
	command.PIDFile = "/run/leases.pid"
	scripts.Start, scripts.Stop, scripts.XParam = []string{"/etc/ucarp/vip-up.sh"}, []string{"/etc/ucarp/vip-down.sh"}, "office"
	g.Units = []ha.Unit{ha.DefaultUnit(ha.UnitSystemd, "named.service"), command, scripts}
	g.Storage = ha.Storage{Alone: "varda1", Fence: "pdu", FenceAfter: 3 * time.Second, AddressWait: time.Minute, Verify: confsync.TimeOfDay{Set: true, Hour: 4},
		Resources: []ha.Resource{{Name: "r0"}}, Mounts: []ha.Mount{{Device: "/dev/drbd0", Dir: "/srv", Type: "ext4", Options: "noatime", Fsck: ha.FsckPreen,
			MountTimeout: 2 * time.Minute, UnmountTimeout: 30 * time.Second}}}
	check := func(c ha.Check) ha.Check {
		c.ActiveOnly = true
		c.Interval, c.Timeout, c.Fall, c.Rise = time.Second, time.Second, 3, 2
		return c
	}
	g.Checks = []ha.Check{
		check(ha.Check{Type: ha.CheckTCP, Name: "named answers", Target: "127.0.0.1:53", Send: "QUIT\n", Expect: "220"}),
		check(ha.Check{Type: ha.CheckSystemd, Name: "systemd named.service", Unit: "named.service"}),
		check(ha.Check{Type: ha.CheckProcess, Name: "process named.pid", PIDFile: "/run/named/named.pid"}),
		check(ha.Check{Type: ha.CheckProcess, Name: "process named", Process: "named"}),
		check(ha.Check{Type: ha.CheckExec, Name: "exec check-dns", Command: []string{"/usr/local/lib/kvmha/check-dns", "www.example.org"}}),
		check(ha.Check{Type: ha.CheckDNS, Name: "dns example.org", Target: "127.0.0.1:53", DNS: hacheck.DNS{Address: "127.0.0.1:53", Name: "example.org", Type: "SOA",
			RCode: "NOERROR", Answer: "ns.example.org. admin.example.org. 7 3600 600 86400 60", SerialOf: "10.2.0.11:53"}}),
		check(ha.Check{Type: ha.CheckHTTP, Name: "http 127.0.0.1:443", Target: "127.0.0.1:443", HTTP: hacheck.HTTP{Address: "127.0.0.1:443", TLS: hacheck.TLSImplicit,
			CAFile: "/etc/ssl/certs/office-ca.pem", ServerName: "www.example.org", Host: "www.example.org", Path: "/health", Status: 200, Contains: "all is well",
			Expires: 336 * time.Hour}}),
		check(ha.Check{Type: ha.CheckSMTP, Name: "smtp 127.0.0.1:25", Target: "127.0.0.1:25", Expect: "ESMTP", SMTP: hacheck.SMTP{Address: "127.0.0.1:25", Expect: "ESMTP",
			Helo: "varda1.example.org"}}),
		check(ha.Check{Type: ha.CheckLDAP, Name: "ldap 127.0.0.1:389", Target: "127.0.0.1:389", LDAP: hacheck.LDAP{Address: "127.0.0.1:389", TLS: hacheck.TLSStart,
			CAFile: "/etc/ssl/certs/office-ca.pem", ServerName: "ldap.example.org", BindDN: "cn=check,dc=example,dc=org", Password: ha.NewSecret("hunter2"),
			Base: "ou=people,dc=example,dc=org", Filter: "(uid=anne)", Count: 1}}),
		check(ha.Check{Type: ha.CheckSMB, Name: "smb 127.0.0.1:445", Target: "127.0.0.1:445", SMB: hacheck.SMB{Address: "127.0.0.1:445", Session: hacheck.SMBUser,
			User: `OFFICE\anne`, Password: ha.NewSecret("hunter2"), Share: "public", File: "check/read.me", RefuseAnonymous: true}}),
		check(ha.Check{Type: ha.CheckDisk, Name: "disk /srv", Disk: hacheck.Disk{Path: "/srv", Mounted: true, MinFree: "5%", MinInodes: "5%"}}),
		check(ha.Check{Type: ha.CheckARP, Name: "arp 10.2.0.1", Target: "10.2.0.1", ARP: hacheck.ARP{Interface: "eth0", Address: "10.2.0.1", MAC: "52:54:00:00:00:01"}}),
		{Type: ha.CheckSID, Name: "sid varda2", SID: hacheck.SID{Peer: "varda2"}, ActiveOnly: true, Interval: 10 * time.Minute, Timeout: 30 * time.Second, Fall: 3, Rise: 2},
		{Type: ha.CheckDHCP, Name: "dhcp eth0", DHCP: hacheck.DHCP{Interface: "eth0", Discover: true, MAC: "02:00:00:00:00:01", ServerID: "10.2.0.11",
			Options: []string{"routers=10.2.0.1", "domain-name=example.org", "ntp-servers"}}, ActiveOnly: true, Interval: time.Second, Timeout: 4 * time.Second, Fall: 3, Rise: 2},
	}
	want := ha.Spec{
		File: "/etc/kvmha.toml", Node: "varda1", Language: ha.English, Groups: []ha.Group{g},
		Mail: ha.Mail{Relay: "mail.example.org:25", TLS: ha.MailStartTLS, User: "kvmha", Password: ha.NewSecret("hunter2"),
			From: "kvmha@example.org", To: []string{"admin@example.org"}, Timeout: 30 * time.Second},
		Webhook: ha.Webhook{URL: "https://alerts.example.org/kvmha", Token: ha.NewSecret("hunter2"), Timeout: 30 * time.Second},
		Command: ha.Command{Argv: []string{"/usr/local/lib/kvmha/alert", "--json"}, Timeout: 30 * time.Second},
		Log:     ha.Log{To: ha.LogFile, File: "/var/log/kvmha.log"},
		Channel: ha.Channel{Listen: []string{ha.DefaultListen}},
		Peers: []peer.Node{{Name: "varda2", Role: peer.Member,
			Addresses: []netip.AddrPort{netip.MustParseAddrPort("10.2.0.11:4694"), netip.MustParseAddrPort("192.168.9.2:4694")}},
			{Name: "varda3", Role: peer.Arbiter, Addresses: []netip.AddrPort{netip.MustParseAddrPort("10.2.0.12:4694")}}},
		Arbiter: []arbiter.Group{{Name: "mail", Members: []string{"varda1", "varda2"}}},
		Fences: []ha.Fence{{Name: "pdu", Kind: ha.FenceExec, Agent: "/usr/sbin/fence_apc_snmp", Parameters: []string{"ip=10.2.0.30", "plug=4"},
			Password: ha.NewSecret("hunter2"), Timeout: 30 * time.Second}},
		Etcd: arbiter.EtcdAt{Endpoints: []string{"https://10.2.0.21:2379", "https://10.2.0.22:2379", "https://10.2.0.23:2379"}, Prefix: arbiter.EtcdPrefix,
			CAFile: "/etc/kvmha/etcd-ca.pem", CertFile: "/etc/kvmha/etcd.pem", KeyFile: "/etc/kvmha/etcd.key"},
		Syncs: []confsync.Job{{Name: "zones", Group: "dns", Paths: []string{"/etc/bind/"}, Exclude: []string{"*.jnl"},
			Validate: []string{"/usr/bin/named-checkconf", "-z"}, Reload: []string{"/usr/sbin/rndc", "reload"}, MaxDelete: 25, Keep: 3, Every: 5 * time.Minute,
			At: confsync.TimeOfDay{Set: true, Hour: 3, Minute: 30}, OnChange: true}},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

// TestTheReferenceHoldsTheDefaults: where the reference names a figure's default, the file without the key has it.
func TestTheReferenceHoldsTheDefaults(t *testing.T) {
	little := "[group.dns]\ninterface = \"eth0\"\nvhid = 1\naddresses = [\"10.2.0.10\"]\npassword_file = \"p\"\n[[group.dns.unit]]\nname = \"named\"\n"
	got, problems := Parse("/etc/kvmha.toml", File{Text: []byte(little), Mode: 0o644}, secret)
	for _, p := range problems {
		t.Error(p)
	}
	g := ha.DefaultGroup("dns")
	g.Interface, g.VHID, g.Addresses, g.Password = "eth0", 1, []netip.Addr{netip.MustParseAddr("10.2.0.10")}, ha.NewSecret("hunter2")
	g.Units = []ha.Unit{ha.DefaultUnit(ha.UnitSystemd, "named.service")}
	want := ha.Spec{File: "/etc/kvmha.toml", Language: ha.English, Log: ha.Log{To: ha.LogJournal}, Groups: []ha.Group{g}}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	for key, value := range map[string]any{
		"base": ha.DefaultBase, "skew": ha.DefaultSkew, "dead_ratio": ha.DefaultDeadRatio, "peer": ha.DefaultPeer, "preempt_delay": ha.DefaultPreemptDelay,
		"carrier_up_delay": ha.DefaultCarrierUpDelay, "carrier_down_delay": ha.DefaultCarrierDownDelay, "restarts": ha.DefaultRestarts,
		"restart_window": ha.DefaultRestartWindow, "on_failure": ha.DefaultOnFailure, "remind": ha.DefaultRemind, "min": ha.DefaultDampingMin,
		"max": ha.DefaultDampingMax, "moves": ha.DefaultDampingMoves, "window": ha.DefaultDampingWindow, "start_timeout": ha.DefaultStartTimeout,
		"stop_timeout": ha.DefaultStopTimeout, "interval": ha.DefaultCheckInterval, "fall": ha.DefaultFall, "rise": ha.DefaultRise,
	} {
		if d, ok := value.(time.Duration); ok {
			value = strict.Short(d)
		}
		re := regexp.MustCompile(`(?s)Default: ` + regexp.QuoteMeta(fmt.Sprint(value)) + `[.,][^=]*\n` + key + ` = `)
		if !re.MatchString(Reference) {
			t.Errorf("%s: the comment does not give the default %v", key, value)
		}
	}
}

// TestTheReferenceNamesEveryKeyOnce holds the structs against the file: each key has exactly one comment that tells its range, its values and
// its default. A key without a comment above it repeats another one; one that is commented out excludes another one.
func TestTheReferenceNamesEveryKeyOnce(t *testing.T) {
	want := map[string]int{}
	fields := map[string]strict.Field{}
	var walk func(prefix string, s *strict.Schema)
	walk = func(prefix string, s *strict.Schema) {
		for _, f := range s.Fields {
			if f.Sub == nil {
				want[prefix+f.Name] = 1
				fields[prefix+f.Name] = f
				continue
			}
			if f.Kind == strict.KindNamed {
				f.Name += "." + map[string]string{"group": "dns", "peer": "varda2", "arbiter.group": "mail", "fence": "pdu"}[prefix+f.Name]
			}
			walk(prefix+f.Name+".", f.Sub)
		}
	}
	walk("", fileSchema())

	got := map[string]int{}
	commented := regexp.MustCompile(`^# [a-z_]+ = `)
	table, comment := "", ""
	for line := range strings.Lines(Reference) {
		line = strings.TrimSpace(line)
		if commented.MatchString(line) {
			line = strings.TrimPrefix(line, "# ")
		}
		switch {
		case strings.HasPrefix(line, "#"):
			comment += strings.TrimPrefix(line, "#")
		case strings.HasPrefix(line, "["):
			table, comment = strings.Trim(line, "[]")+".", ""
		case strings.Contains(line, " = "):
			key := table + strings.Fields(line)[0]
			if comment == "" {
				continue
			}
			got[key]++
			f := fields[key]
			phrases := []string{"Default: "}
			if f.Span != "" {
				phrases = append(phrases, fmt.Sprintf("Range: %s.", f.Span))
			}
			for _, c := range f.Choices {
				phrases = append(phrases, strict.Quote(c))
			}
			for _, phrase := range phrases {
				if !strings.Contains(comment, phrase) {
					t.Errorf("the comment of %s lacks %q:%s", key, phrase, comment)
				}
			}
			comment = ""
		case line == "":
			comment = ""
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys of the structs and of the file (-structs +file):\n%s", diff)
	}
}
