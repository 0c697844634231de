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
	portLDAP = 389
	portSMB  = 445
)

// ask fills what a check's question is made of, and lets the check's own rules judge it once nothing is wrong with single keys.
func (l *loader) ask(path string, raw *rawCheck, c *ha.Check, port uint16, password *check.Password, spec func() check.Spec) {
	secret, at := l.secret(path, "password", raw.Password, raw.PasswordFile)
	if at != "" {
		*password = secret
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
	if raw.CAFile != nil && !filepath.IsAbs(*raw.CAFile) && !l.Bad[path+".ca_file"] {
		l.Value(path+".ca_file", "check.ca_file wants an absolute path, got "+strict.Quote(*raw.CAFile), "")
	}
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
