package explain

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/check"
)

// look says what a check does, as the end of "The check …".
func look(c *ha.Check) string {
	switch c.Type {
	case ha.CheckSystemd:
		return "is told when " + c.Unit + " ends or fails"
	case ha.CheckProcess:
		return "is told when " + process(c) + " ends"
	case ha.CheckTCP:
		return "connects to " + c.Target + given(c.Send != "", ", says something") + given(c.Expect != "", fmt.Sprintf(", and wants an answer with %q", c.Expect))
	case ha.CheckExec:
		return "runs " + program(c.Command) + ", which has to exit with 0"
	case ha.CheckPing:
		return "wants " + c.Target + " to answer a ping"
	case ha.CheckDNS:
		return lookDNS(&c.DNS)
	case ha.CheckHTTP:
		return lookHTTP(&c.HTTP)
	case ha.CheckSMTP:
		s := &c.SMTP
		return "wants a mail server to greet at " + s.Address + given(s.Expect != "", fmt.Sprintf(", with %q", s.Expect)) + encrypted(s.TLS, s.Expires)
	case ha.CheckLDAP:
		return lookLDAP(&c.LDAP)
	case ha.CheckSMB:
		return lookSMB(&c.SMB)
	case ha.CheckDHCP:
		return lookDHCP(&c.DHCP)
	case ha.CheckDisk:
		return lookDisk(&c.Disk)
	case ha.CheckARP:
		return fmt.Sprintf("wants %s to have %s on %s, by ARP or neighbour discovery", cmp.Or(c.ARP.MAC, "another machine"), c.ARP.Address, c.ARP.Interface)
	case ha.CheckPF:
		return "wants the packet filter to be enabled"
	case ha.CheckPFSync:
		return "wants " + c.PFSync.Interface + " to pass the packet filter's states on"
	case ha.CheckSID: // has its own sentences
	}
	return "is of the type " + string(c.Type)
}

func program(argv []string) string {
	if len(argv) == 0 {
		return "nothing"
	}
	return argv[0]
}

// given is what is only said if it holds.
func given(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

func process(c *ha.Check) string {
	switch {
	case c.PIDFile == "":
		return "the process " + c.Process
	case c.Process == "":
		return "the process of " + c.PIDFile
	}
	return "the process of " + c.PIDFile + ", which has to be " + c.Process + ","
}

// encrypted says what is asked of a connection's TLS.
func encrypted(how string, expires time.Duration) string {
	switch how {
	case check.TLSStart:
		how = ", by STARTTLS"
	case check.TLSImplicit:
		how = ", by TLS"
	default:
		return ""
	}
	return how + " with a certificate that is valid" + given(expires > 0, " for "+seconds(expires)+" yet")
}

func lookDNS(d *check.DNS) string {
	rcode := cmp.Or(d.RCode, "NOERROR")
	want := "and wants a record"
	switch {
	case d.Answer != "":
		want = fmt.Sprintf("and wants %q", d.Answer)
	case rcode != "NOERROR":
		want = "and wants " + rcode
	}
	text := fmt.Sprintf("asks the name server %s for %s of %s%s, %s", d.Address, cmp.Or(d.Type, "A"), d.Name, given(d.TCP, " by TCP"), want)
	return text + given(d.SerialOf != "", ", whose serial is not older than that of "+d.SerialOf)
}

func lookHTTP(h *check.HTTP) string {
	scheme := "http"
	if h.TLS == check.TLSImplicit {
		scheme = "https"
	}
	page := scheme + "://" + cmp.Or(h.Host, h.Address) + cmp.Or(h.Path, "/") + given(h.Host != "", " at "+h.Address)
	status := "a status from 200 to 399"
	if h.Status != 0 {
		status = fmt.Sprintf("status %d", h.Status)
	}
	return "asks for " + page + ", and wants " + status + given(h.Contains != "", fmt.Sprintf(" and a page with %q", h.Contains)) + encrypted(h.TLS, h.Expires)
}

func lookLDAP(l *check.LDAP) string {
	who := "anonymously"
	if l.BindDN != "" {
		who = "as " + l.BindDN
	}
	want := "for its root DSE"
	if l.Base != "" {
		found := "an entry at least"
		if l.Count > 0 {
			found = fmt.Sprintf("%d of them", l.Count)
		}
		want = fmt.Sprintf("for %s below %s, and wants %s", cmp.Or(l.Filter, "(objectClass=*)"), l.Base, found)
	}
	return fmt.Sprintf("asks the directory %s %s %s", l.Address, who, want) + encrypted(l.TLS, 0)
}

func lookSMB(s *check.SMB) string {
	who := map[string]string{check.SMBUser: "as " + s.User, check.SMBGuest: "as a guest", check.SMBAnonymous: "without a name"}[s.Session]
	text := fmt.Sprintf("logs on to the file server %s %s", s.Address, who)
	if s.Share != "" {
		text += ", wants the share " + s.Share + given(!s.Hidden, ", which its list has to name")
	}
	return text + given(s.File != "", ", reads its file "+s.File) + given(s.RefuseAnonymous, ", and wants strangers to be refused")
}

func lookDHCP(d *check.DHCP) string {
	text := "asks the DHCP server " + d.Address + " for options (DHCPINFORM)"
	if d.Discover {
		text = "asks for an address on " + d.Interface + " as " + d.MAC + " (DHCPDISCOVER), takes none"
	}
	return text + given(d.ServerID != "", ", and wants "+d.ServerID+" to answer") + given(len(d.Options) > 0, ", and wants "+strings.Join(d.Options, ", "))
}

func lookDisk(d *check.Disk) string {
	var want []string
	if d.Mounted {
		want = append(want, "a file system mounted there")
	}
	if !d.ReadOnly {
		want = append(want, "it to be writable")
	}
	if d.MinFree != "" {
		want = append(want, d.MinFree+" of it free")
	}
	if d.MinInodes != "" {
		want = append(want, d.MinInodes+" of its inodes free")
	}
	if len(want) == 0 {
		return "wants " + d.Path + " to answer"
	}
	return "looks at the file system of " + d.Path + ", and wants " + list(want)
}
