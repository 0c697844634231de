package kvmha

import (
	"fmt"
	"path/filepath"

	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/check"
)

// The ports of the services that checks ask.
const (
	portDNS  = 53
	portHTTP = 80
	portSMTP = 25
	portDHCP = 67
	portLDAP = 389
	portSMB  = 445
)

// asks tells whether a type of check has a server of its own kind as its target.
func asks(t ha.CheckType) bool {
	return t == ha.CheckDNS || t == ha.CheckDHCP || t == ha.CheckSMB || encrypts(t)
}

// encrypts tells whether a type of check may speak TLS.
func encrypts(t ha.CheckType) bool {
	return t == ha.CheckHTTP || t == ha.CheckSMTP || t == ha.CheckLDAP
}

// ask fills what a check's question is made of, password where there is one, and lets the check's own rules judge it once nothing is wrong with single keys.
func (l *loader) ask(path string, raw *rawCheck, c *ha.Check, port uint16, password *check.Password, spec func() check.Spec) {
	var secret ha.Secret
	at := ""
	if password != nil {
		if secret, at = l.secret(path, "password", raw.Password, raw.PasswordFile); at != "" {
			*password = secret
		}
	}
	example := fmt.Sprintf("127.0.0.1:%d", port)
	if !l.need(path, "target", raw.Target != nil, fmt.Sprintf("a check of type %q without a target", c.Type), fmt.Sprintf("target = %q", example)) {
		return
	}
	before := len(l.Problems)
	l.checkTarget(path+".target", c.Type, c.Target, port)
	if len(l.Problems) > before || at != "" && secret.IsZero() {
		return
	}
	if err := spec().Validate(); err != nil {
		l.Value(path, fmt.Sprintf("a check of type %q: %v", c.Type, err), "")
	}
}

func (l *loader) checkCAFile(path string, raw *rawCheck) {
	if raw.CAFile != nil && !filepath.IsAbs(*raw.CAFile) && !l.Bad[path+".ca_file"] {
		l.Value(path+".ca_file", "check.ca_file wants an absolute path, got "+strict.Quote(*raw.CAFile), "")
	}
}

func (l *loader) checkDNS(path string, raw *rawCheck, c *ha.Check) {
	s := &c.DNS
	s.Address = c.Target
	s.TCP = raw.Transport != nil && *raw.Transport == "tcp"
	strict.Set(&s.Name, raw.Query)
	strict.Set(&s.Type, raw.Record)
	strict.Set(&s.RCode, raw.RCode)
	strict.Set(&s.Answer, raw.Answer)
	strict.Set(&s.SerialOf, raw.SerialOf)
	if !l.need(path, "query", raw.Query != nil, "a check of type \"dns\" without a query", `query = "www.example.org"`) {
		return
	}
	l.ask(path, raw, c, portDNS, nil, func() check.Spec { return *s })
}

func (l *loader) checkHTTP(path string, raw *rawCheck, c *ha.Check) {
	s := &c.HTTP
	s.Address = c.Target
	strict.Set(&s.TLS, raw.TLS)
	strict.Set(&s.CAFile, raw.CAFile)
	strict.Set(&s.ServerName, raw.ServerName)
	strict.Set(&s.Host, raw.Host)
	strict.Set(&s.Path, raw.Path)
	strict.Set(&s.Status, raw.Status)
	strict.Set(&s.Contains, raw.Contains)
	strict.SetTime(&s.Expires, raw.Expires)
	l.checkCAFile(path, raw)
	l.ask(path, raw, c, portHTTP, nil, func() check.Spec { return *s })
}

func (l *loader) checkSMTP(path string, raw *rawCheck, c *ha.Check) {
	s := &c.SMTP
	s.Address = c.Target
	strict.Set(&s.TLS, raw.TLS)
	strict.Set(&s.CAFile, raw.CAFile)
	strict.Set(&s.ServerName, raw.ServerName)
	strict.Set(&s.Helo, raw.Helo)
	s.Expect = c.Expect
	strict.SetTime(&s.Expires, raw.Expires)
	l.checkCAFile(path, raw)
	l.ask(path, raw, c, portSMTP, nil, func() check.Spec { return *s })
}

// checkDHCP asks on the group's interface with discover, unless the check names another.
func (l *loader) checkDHCP(path string, raw *rawCheck, c *ha.Check, iface string) {
	s := &c.DHCP
	s.Address = c.Target
	strict.Set(&s.Discover, raw.Discover)
	if s.Discover {
		s.Interface = iface
	}
	strict.Set(&s.Interface, raw.Interface)
	strict.Set(&s.MAC, raw.MAC)
	strict.Set(&s.ServerID, raw.ServerID)
	s.Options = raw.Options
	if !s.Discover {
		l.ask(path, raw, c, portDHCP, nil, func() check.Spec { return *s })
	} else if s.Interface != "" {
		l.judged(path, c, *s)
	}
}

func (l *loader) checkLDAP(path string, raw *rawCheck, c *ha.Check) {
	s := &c.LDAP
	s.Address = c.Target
	strict.Set(&s.TLS, raw.TLS)
	strict.Set(&s.CAFile, raw.CAFile)
	strict.Set(&s.ServerName, raw.ServerName)
	strict.Set(&s.BindDN, raw.User)
	strict.Set(&s.Base, raw.Base)
	strict.Set(&s.Filter, raw.Filter)
	strict.Set(&s.Count, raw.Count)
	l.checkCAFile(path, raw)
	l.ask(path, raw, c, portLDAP, &s.Password, func() check.Spec { return *s })
}

func (l *loader) checkSMB(path string, raw *rawCheck, c *ha.Check) {
	s := &c.SMB
	s.Address = c.Target
	if s.Session = check.SMBGuest; raw.User != nil {
		s.Session = check.SMBUser
	}
	strict.Set(&s.Session, raw.Session)
	strict.Set(&s.User, raw.User)
	strict.Set(&s.Share, raw.Share)
	strict.Set(&s.Hidden, raw.Hidden)
	strict.Set(&s.File, raw.File)
	strict.Set(&s.RefuseAnonymous, raw.RefuseAnonymous)
	l.ask(path, raw, c, portSMB, &s.Password, func() check.Spec { return *s })
}
