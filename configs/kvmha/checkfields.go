package kvmha

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/check"
)

// checkFields tells of what a check's type lacks or has no use for.
func (l *loader) checkFields(path string, raw *rawCheck, c *ha.Check, iface string) {
	t := c.Type
	for _, f := range []struct {
		key     string
		set, ok bool
	}{
		{"unit", raw.Unit != nil, t == ha.CheckSystemd},
		{"pidfile", raw.PIDFile != nil, t == ha.CheckProcess}, {"process", raw.Process != nil, t == ha.CheckProcess},
		{"target", raw.Target != nil, t == ha.CheckTCP || t == ha.CheckPing || t == ha.CheckARP || asks(t)},
		{"send", raw.Send != nil, t == ha.CheckTCP}, {"expect", raw.Expect != nil, t == ha.CheckTCP || t == ha.CheckSMTP},
		{"run", raw.Run != nil, t == ha.CheckExec},
		{"query", raw.Query != nil, t == ha.CheckDNS}, {"record", raw.Record != nil, t == ha.CheckDNS}, {"rcode", raw.RCode != nil, t == ha.CheckDNS},
		{"answer", raw.Answer != nil, t == ha.CheckDNS}, {"transport", raw.Transport != nil, t == ha.CheckDNS}, {"serial_of", raw.SerialOf != nil, t == ha.CheckDNS},
		{"host", raw.Host != nil, t == ha.CheckHTTP}, {"path", raw.Path != nil, t == ha.CheckHTTP || t == ha.CheckDisk}, {"status", raw.Status != nil, t == ha.CheckHTTP},
		{"contains", raw.Contains != nil, t == ha.CheckHTTP}, {"helo", raw.Helo != nil, t == ha.CheckSMTP},
		{"expires", raw.Expires != nil, t == ha.CheckHTTP || t == ha.CheckSMTP},
		{"tls", raw.TLS != nil, encrypts(t)}, {"ca_file", raw.CAFile != nil, encrypts(t)}, {"server_name", raw.ServerName != nil, encrypts(t)},
		{"user", raw.User != nil, t == ha.CheckLDAP || t == ha.CheckSMB}, {"password", raw.Password != nil, t == ha.CheckLDAP || t == ha.CheckSMB},
		{"password_file", raw.PasswordFile != nil, t == ha.CheckLDAP || t == ha.CheckSMB},
		{"base", raw.Base != nil, t == ha.CheckLDAP}, {"filter", raw.Filter != nil, t == ha.CheckLDAP}, {"count", raw.Count != nil, t == ha.CheckLDAP},
		{"session", raw.Session != nil, t == ha.CheckSMB}, {"share", raw.Share != nil, t == ha.CheckSMB}, {"hidden", raw.Hidden != nil, t == ha.CheckSMB},
		{"file", raw.File != nil, t == ha.CheckSMB}, {"refuse_anonymous", raw.RefuseAnonymous != nil, t == ha.CheckSMB},
		{"mounted", raw.Mounted != nil, t == ha.CheckDisk}, {"read_only", raw.ReadOnly != nil, t == ha.CheckDisk},
		{"min_free", raw.MinFree != nil, t == ha.CheckDisk}, {"min_inodes", raw.MinInodes != nil, t == ha.CheckDisk},
		{"interface", raw.Interface != nil, t == ha.CheckARP || t == ha.CheckPFSync || t == ha.CheckDHCP}, {"mac", raw.MAC != nil, t == ha.CheckARP || t == ha.CheckDHCP},
		{"discover", raw.Discover != nil, t == ha.CheckDHCP}, {"server_id", raw.ServerID != nil, t == ha.CheckDHCP}, {"options", raw.Options != nil, t == ha.CheckDHCP},
		{"peer", raw.Peer != nil, t == ha.CheckSID}, {"domain_only", raw.DomainOnly != nil, t == ha.CheckSID},
	} {
		if f.set && !f.ok {
			l.Key(path+"."+f.key, fmt.Sprintf("check.%s beside type = %q: it has no use there", f.key, t), "")
		}
	}
	switch t {
	case ha.CheckSystemd:
		if l.need(path, "unit", raw.Unit != nil, "a check of type \"systemd\" without a unit", `unit = "named.service"`) {
			c.Unit = l.unitName(path+".unit", ha.UnitSystemd, c.Unit)
		}
	case ha.CheckProcess:
		l.checkProcess(path, raw)
	case ha.CheckTCP:
		if l.need(path, "target", raw.Target != nil, "a check of type \"tcp\" without a target", `target = "127.0.0.1:53"`) {
			l.checkTarget(path+".target", t, c.Target, 80)
		}
	case ha.CheckPing:
		if l.need(path, "target", raw.Target != nil, "a check of type \"ping\" without a target", `target = "10.2.0.1"`) {
			if a, err := netip.ParseAddr(c.Target); err != nil || a.IsUnspecified() || a.IsMulticast() {
				l.Value(path+".target", fmt.Sprintf("check.target of type \"ping\" wants an IP address, got %q", c.Target), withoutPort(c.Target))
			}
		}
	case ha.CheckDNS:
		l.checkDNS(path, raw, c)
	case ha.CheckHTTP:
		l.checkHTTP(path, raw, c)
	case ha.CheckSMTP:
		l.checkSMTP(path, raw, c)
	case ha.CheckDHCP:
		l.checkDHCP(path, raw, c, iface)
	case ha.CheckLDAP:
		l.checkLDAP(path, raw, c)
	case ha.CheckSMB:
		l.checkSMB(path, raw, c)
	case ha.CheckDisk:
		l.checkDisk(path, raw, c)
	case ha.CheckARP:
		l.checkARP(path, raw, c, iface)
	case ha.CheckSID:
		l.checkSID(path, raw, c)
	case ha.CheckPF:
		l.hasPF(path, check.PF{})
	case ha.CheckPFSync:
		l.checkPFSync(path, raw, c)
	case ha.CheckExec:
		l.need(path, "run", raw.Run != nil, "a check of type \"exec\" without run", `run = ["/usr/local/lib/kvmha/check-dns"]`)
		l.program(path+".run", raw.Run)
	}
}

func (l *loader) checkProcess(path string, raw *rawCheck) {
	switch {
	case raw.PIDFile != nil && !filepath.IsAbs(*raw.PIDFile):
		l.Value(path+".pidfile", "check.pidfile wants an absolute path, got "+strict.Quote(*raw.PIDFile), "")
	case raw.Process != nil && strings.Contains(*raw.Process, "/"):
		l.Value(path+".process", "check.process wants the name of an executable, got "+strict.Quote(*raw.Process),
			fmt.Sprintf("process = %q", filepath.Base(*raw.Process)))
	case raw.PIDFile == nil && raw.Process == nil && !l.Bad[path+".pidfile"] && !l.Bad[path+".process"]:
		l.Value(path, "a check of type \"process\" with neither pidfile nor process", `pidfile = "/run/named/named.pid"`)
	}
}

// checkTarget wants a literal address and a port: a name would make the check depend on the resolver.
func (l *loader) checkTarget(path string, t ha.CheckType, target string, port uint16) {
	ap, err := netip.ParseAddrPort(target)
	if err == nil && ap.Port() != 0 && !ap.Addr().IsMulticast() {
		return
	}
	fix := ""
	if a, err := netip.ParseAddr(target); err == nil {
		fix = fmt.Sprintf("target = %q", netip.AddrPortFrom(a, port))
	} else if port, ok := strings.CutPrefix(target, "localhost:"); ok {
		fix = fmt.Sprintf("target = %q", "127.0.0.1:"+port)
	}
	eg := "127.0.0.1:53"
	if t != ha.CheckTCP {
		eg = fmt.Sprintf("127.0.0.1:%d", port)
	}
	l.Value(path, fmt.Sprintf("check.target of type %q wants an IP address and a port such as %q, got %q", t, eg, target), fix)
}

func withoutPort(target string) string {
	if ap, err := netip.ParseAddrPort(target); err == nil {
		return fmt.Sprintf("target = %q", ap.Addr())
	}
	return ""
}
