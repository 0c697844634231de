package explain

import (
	"testing"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/check"
)

// Every type of check has words of its own, with all of its fields and with few.
func TestWhatEachCheckDoes(t *testing.T) {
	told := map[ha.CheckType]bool{}
	for _, tt := range []struct {
		check ha.Check
		want  string
	}{
		{ha.Check{Type: ha.CheckSystemd, Unit: "named.service"}, "is told when named.service ends or fails"},
		{ha.Check{Type: ha.CheckProcess, Process: "named"}, "is told when the process named ends"},
		{ha.Check{Type: ha.CheckProcess, PIDFile: "/run/named.pid"}, "is told when the process of /run/named.pid ends"},
		{ha.Check{Type: ha.CheckProcess, PIDFile: "/run/named.pid", Process: "named"}, "is told when the process of /run/named.pid, which has to be named, ends"},
		{ha.Check{Type: ha.CheckTCP, Target: "10.2.0.2:25"}, "connects to 10.2.0.2:25"},
		{ha.Check{Type: ha.CheckTCP, Target: "10.2.0.2:25", Send: "QUIT", Expect: "220"}, `connects to 10.2.0.2:25, says something, and wants an answer with "220"`},
		{ha.Check{Type: ha.CheckExec, Command: []string{"/usr/bin/look", "--password=hush"}}, "runs /usr/bin/look, which has to exit with 0"},
		{ha.Check{Type: ha.CheckPing, Target: "10.2.0.1"}, "wants 10.2.0.1 to answer a ping"},
		{ha.Check{Type: ha.CheckDNS, DNS: check.DNS{Address: "127.0.0.1:53", Name: "www.google.fr"}}, "asks the name server 127.0.0.1:53 for A of www.google.fr, and wants a record"},
		{ha.Check{Type: ha.CheckDNS, DNS: check.DNS{Address: "127.0.0.1:53", Name: "x.org", Type: "MX", RCode: "NXDOMAIN", TCP: true}}, "asks the name server 127.0.0.1:53 for MX of x.org by TCP, and wants NXDOMAIN"},
		{ha.Check{Type: ha.CheckDNS, DNS: check.DNS{Address: "127.0.0.1:53", Name: "x.org", Type: "SOA", SerialOf: "10.2.0.3:53"}},
			"asks the name server 127.0.0.1:53 for SOA of x.org, and wants a record, whose serial is not older than that of 10.2.0.3:53"},
		{ha.Check{Type: ha.CheckDNS, DNS: check.DNS{Address: "127.0.0.1:53", Name: "x.org", Answer: "10.2.0.2"}}, `asks the name server 127.0.0.1:53 for A of x.org, and wants "10.2.0.2"`},
		{ha.Check{Type: ha.CheckHTTP, HTTP: check.HTTP{Address: "127.0.0.1:80"}}, "asks for http://127.0.0.1:80/, and wants a status from 200 to 399"},
		{ha.Check{Type: ha.CheckHTTP, HTTP: check.HTTP{Address: "127.0.0.1:443", TLS: check.TLSImplicit, Host: "www.x.org", Path: "/health", Status: 204, Contains: "well", Expires: 336 * time.Hour}},
			`asks for https://www.x.org/health at 127.0.0.1:443, and wants status 204 and a page with "well", by TLS with a certificate that is valid for 336 h yet`},
		{ha.Check{Type: ha.CheckSMTP, SMTP: check.SMTP{Address: "127.0.0.1:25"}}, "wants a mail server to greet at 127.0.0.1:25"},
		{ha.Check{Type: ha.CheckSMTP, SMTP: check.SMTP{Address: "127.0.0.1:25", Expect: "ESMTP", TLS: check.TLSStart}},
			`wants a mail server to greet at 127.0.0.1:25, with "ESMTP", by STARTTLS with a certificate that is valid`},
		{ha.Check{Type: ha.CheckLDAP, LDAP: check.LDAP{Address: "10.2.0.2:389"}}, "asks the directory 10.2.0.2:389 anonymously for its root DSE"},
		{ha.Check{Type: ha.CheckLDAP, LDAP: check.LDAP{Address: "10.2.0.2:636", TLS: check.TLSImplicit, BindDN: "cn=check", Base: "ou=people", Filter: "(uid=anne)", Count: 1}},
			"asks the directory 10.2.0.2:636 as cn=check for (uid=anne) below ou=people, and wants 1 of them, by TLS with a certificate that is valid"},
		{ha.Check{Type: ha.CheckLDAP, LDAP: check.LDAP{Address: "10.2.0.2:389", Base: "ou=people"}}, "asks the directory 10.2.0.2:389 anonymously for (objectClass=*) below ou=people, and wants an entry at least"},
		{ha.Check{Type: ha.CheckSMB, SMB: check.SMB{Address: "10.2.0.2:445", Session: check.SMBGuest}}, "logs on to the file server 10.2.0.2:445 as a guest"},
		{ha.Check{Type: ha.CheckSMB, SMB: check.SMB{Address: "10.2.0.2:445", Session: check.SMBUser, User: "anne", Share: "public", File: "read.me", RefuseAnonymous: true}},
			"logs on to the file server 10.2.0.2:445 as anne, wants the share public, which its list has to name, reads its file read.me, and wants strangers to be refused"},
		{ha.Check{Type: ha.CheckSMB, SMB: check.SMB{Address: "10.2.0.2:445", Session: check.SMBAnonymous, Share: "attic", Hidden: true}}, "logs on to the file server 10.2.0.2:445 without a name, wants the share attic"},
		{ha.Check{Type: ha.CheckDHCP, DHCP: check.DHCP{Address: "10.2.0.2:67"}}, "asks the DHCP server 10.2.0.2:67 for options (DHCPINFORM)"},
		{ha.Check{Type: ha.CheckDHCP, DHCP: check.DHCP{Discover: true, Interface: "eth0", MAC: "02:00:00:00:00:01", ServerID: "10.2.0.2", Options: []string{"routers=10.2.0.1", "ntp-servers"}}},
			"asks for an address on eth0 as 02:00:00:00:00:01 (DHCPDISCOVER), takes none, and wants 10.2.0.2 to answer, and wants routers=10.2.0.1, ntp-servers"},
		{ha.Check{Type: ha.CheckDisk, Disk: check.Disk{Path: "/srv", ReadOnly: true}}, "wants /srv to answer"},
		{ha.Check{Type: ha.CheckDisk, Disk: check.Disk{Path: "/srv", Mounted: true, MinFree: "5%", MinInodes: "1000"}},
			"looks at the file system of /srv, and wants a file system mounted there, it to be writable, 5% of it free and 1000 of its inodes free"},
		{ha.Check{Type: ha.CheckARP, ARP: check.ARP{Interface: "eth0", Address: "10.2.0.1"}}, "wants another machine to have 10.2.0.1 on eth0, by ARP or neighbour discovery"},
		{ha.Check{Type: ha.CheckARP, ARP: check.ARP{Interface: "eth0", Address: "10.2.0.1", MAC: "52:54:00:00:00:01"}}, "wants 52:54:00:00:00:01 to have 10.2.0.1 on eth0, by ARP or neighbour discovery"},
		{ha.Check{Type: ha.CheckPF}, "wants the packet filter to be enabled"},
		{ha.Check{Type: ha.CheckPFSync, PFSync: check.PFSync{Interface: "pfsync0"}}, "wants pfsync0 to pass the packet filter's states on"},
	} {
		told[tt.check.Type] = true
		if got := look(&tt.check); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.check.Type, got, tt.want)
		}
	}
	for _, kind := range check.Kinds() {
		if k := ha.CheckType(kind); !told[k] && k != ha.CheckSID { // which has sentences of its own
			t.Errorf("nothing is said of %s", k)
		}
	}
}
