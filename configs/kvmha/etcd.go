package kvmha

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha/arbiter"
)

const etcdTable = "arbiter.etcd"

// inEtcd reports whether the records of the groups that this node decides on are in an etcd.
func (l *loader) inEtcd() bool {
	t, _ := l.Tree["arbiter"].(map[string]any)
	_, ok := t["etcd"].(map[string]any)
	return ok
}

// etcd fills where it is, and looks at the files that this node shows itself by; what they hold does not stay here.
func (l *loader) etcd(raw *rawEtcd, groups bool) arbiter.EtcdAt {
	to := arbiter.EtcdAt{Prefix: arbiter.EtcdPrefix}
	if !groups {
		l.Key(etcdTable, "[arbiter.etcd] without a [arbiter.group.<name>]: there is no record to keep", "")
	}
	const example = `endpoints = ["https://10.2.0.21:2379"]`
	if l.need(etcdTable, "endpoints", raw.Endpoints != nil, "[arbiter.etcd] without endpoints", example) && len(raw.Endpoints) == 0 {
		l.Value(etcdTable+".endpoints", "arbiter.etcd.endpoints is empty", example)
	}
	secure := len(raw.Endpoints) == 0
	for i, s := range raw.Endpoints {
		p := strict.Element(etcdTable+".endpoints", i)
		e, err := arbiter.Endpoint(s)
		secure = secure || err != nil || strings.HasPrefix(e, "https:")
		switch {
		case l.Bad[p]:
		case errors.Is(err, arbiter.ErrPlain):
			l.Value(p, "endpoint of etcd "+strict.Quote(s)+": "+err.Error(), "https, with ca_file, cert_file and key_file")
		case err != nil: // it may hold a password
			l.Value(p, "bad endpoint of etcd: "+err.Error(), "")
		case slices.Contains(to.Endpoints, e):
			l.Value(p, strict.Quote(s)+" is an endpoint twice", "")
		default:
			to.Endpoints = append(to.Endpoints, e)
		}
	}
	if strict.Set(&to.Prefix, raw.Prefix); arbiter.ValidPrefix(to.Prefix) != nil {
		l.Value(etcdTable+".prefix", fmt.Sprintf("bad prefix %s: %v", strict.Quote(to.Prefix), arbiter.ErrPrefix), "")
	}
	for _, f := range []struct {
		key  string
		name *string
		to   *string
	}{{"ca_file", raw.CAFile, &to.CAFile}, {"cert_file", raw.CertFile, &to.CertFile}, {"key_file", raw.KeyFile, &to.KeyFile}} {
		if *f.to = l.beside(f.name); f.name != nil && !secure {
			l.Key(etcdTable+"."+f.key, "arbiter.etcd."+f.key+" beside endpoints of http alone: it has no use there", "")
		}
	}
	l.etcdFiles(raw, to)
	return to
}

func (l *loader) etcdFiles(raw *rawEtcd, to arbiter.EtcdAt) {
	const ca, certificate, secret = etcdTable + ".ca_file", etcdTable + ".cert_file", etcdTable + ".key_file"
	if raw.CAFile != nil {
		if text, ok := l.pem(ca, to.CAFile, false); ok {
			if _, err := arbiter.ParseCA(text); err != nil {
				l.Value(ca, fmt.Sprintf("%s %s: %v", strict.Label(ca), to.CAFile, err), "")
			}
		}
	}
	switch {
	case raw.CertFile == nil && raw.KeyFile == nil:
		return
	case raw.KeyFile == nil:
		l.Key(certificate, strict.Label(certificate)+" without its key", `key_file = "/etc/kvmha/etcd.key"`)
		return
	case raw.CertFile == nil:
		l.Key(secret, strict.Label(secret)+" without its certificate", `cert_file = "/etc/kvmha/etcd.pem"`)
		return
	}
	cert, ok := l.pem(certificate, to.CertFile, false)
	key, ok2 := l.pem(secret, to.KeyFile, true)
	if !ok || !ok2 {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		l.Value(certificate, fmt.Sprintf("%s %s with the key %s: %v", strict.Label(certificate), to.CertFile, to.KeyFile, err), "")
	}
}

// beside makes a name absolute; "" for none.
func (l *loader) beside(name *string) string {
	switch {
	case name == nil:
		return ""
	case filepath.IsAbs(*name):
		return *name
	}
	return filepath.Join(l.dir, *name)
}

// pem reads a file with certificates, or a key that nobody else may read.
func (l *loader) pem(at, name string, secret bool) (text []byte, ok bool) {
	f, err := l.look(name)
	why, fix := "", ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why, fix = ": "+strict.Unreadable(name, err).Msg, "who runs the etcd has it, or makes it"
	case err != nil:
		why = ": " + strict.Unreadable(name, err).Msg
	case len(f.Text) > arbiter.MaxPEM:
		why = ": " + arbiter.ErrTooLarge.Error()
	case secret:
		if why, fix = exposed(name, f); why != "" {
			why = " " + why
		}
	}
	if why != "" {
		l.Value(at, fmt.Sprintf("%s %s%s", strict.Label(at), name, why), fix)
	}
	return f.Text, why == ""
}
