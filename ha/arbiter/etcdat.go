package arbiter

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// EtcdPrefix is what the keys in an etcd begin with where nothing else is asked for; a group's name follows.
const EtcdPrefix = "/kvmha/arbiter/"

// EtcdAt is where an etcd is, and what it knows this node by.
type EtcdAt struct {
	Endpoints []string // as Endpoint gives them; none: there is no etcd
	Prefix    string   // of the keys
	CAFile    string   // PEM of who signed etcd's certificate; "": one of the system's CAs
	CertFile  string   // PEM of this node's certificate; "": it has none
	KeyFile   string   // PEM of its key
}

// Named reports whether there is an etcd.
func (a EtcdAt) Named() bool { return len(a.Endpoints) > 0 }

// OpenEtcd makes a Keeper of the etcd at a place. That it answers is seen when it is asked.
func OpenEtcd(at EtcdAt, groups []Group) (*Etcd, error) {
	t, err := LoadTLS(at.CAFile, at.CertFile, at.KeyFile)
	if err != nil {
		return nil, err
	}
	return NewEtcd(at.Endpoints, at.Prefix, groups, t)
}

// What is wrong with an endpoint.
var (
	ErrEndpoint = errors.New(`it is "https://host:2379", or "http://127.0.0.1:2379" for an etcd on this node`)
	ErrPlain    = errors.New("it is not https: whoever is on the way could answer that a node may go on alone")
)

// Endpoint reads an etcd's client address: https, or http on this node itself.
func Endpoint(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Port() == "", u.Port() == "0", u.User != nil, strings.Trim(u.Path, "/") != "",
		u.RawQuery != "" || u.ForceQuery, u.Fragment != "":
		return "", ErrEndpoint
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", ErrPlain
	}
	return u.Scheme + "://" + u.Host, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// ErrPrefix says how a prefix is written.
var ErrPrefix = errors.New(`it begins and ends with a slash, such as "/office/kvmha/", and has at most 100 letters, digits, "_", "-", "." and "/"`)

// ValidPrefix says what is wrong with a prefix of keys.
func ValidPrefix(s string) error {
	if len(s) > 100 || !strings.HasPrefix(s, "/") || !strings.HasSuffix(s, "/") {
		return fmt.Errorf("bad prefix: %w", ErrPrefix)
	}
	for i := range len(s) {
		if c := s[i]; c != '/' && !validName("x"+string(rune(c)), 2, "._-") {
			return fmt.Errorf("bad prefix: %w", ErrPrefix)
		}
	}
	return nil
}
