package conf

import (
	"fmt"
	"net/netip"
	"strconv"
)

// resource reads a resource, or the common section, in braces.
func (p *parser) resource(r *Resource) error {
	if err := p.want("{"); err != nil {
		return err
	}
	for {
		t, err := p.statement()
		if err != nil || t.is("}") {
			return err
		}
		if t.kind != word {
			return expected("a section or statement of a resource", t)
		}
		switch t.text {
		case "protocol":
			var o Option
			if o, err = p.option(string(Net), t); err == nil {
				o.Under = "resource"
				r.Options = append(r.Options, o)
			}
		case "net", "startup", "handlers", "options", "syncer":
			p.once(t.at, r.path(t.text), "a "+t.text+" section")
			err = p.section(t.text, &r.Options)
		case "on", "floating", "stacked-on-top-of":
			if err = p.room(len(r.Hosts), maxHosts, "hosts"); err == nil {
				err = p.host(r, t)
			}
		case "volume":
			err = p.volume(&r.Volumes, r.path("volume"))
		case "disk", "device", "meta-disk", "flexible-meta-disk":
			err = p.volume0(t, &r.Volumes, r.path("volume 0"), &r.Options)
		case "connection":
			err = p.connection(r, t.at)
		case "connection-mesh":
			err = p.mesh(r, t.at)
		case "proxy":
			err = p.skip(t.at)
		case "ignore-on", "template-file":
			p.problem(t.at, "", "%s is not read", t.text)
			for err == nil && !t.is(";") && t.kind != end {
				t, err = p.next()
			}
		case "skip":
			err = p.skip(t.at)
		default:
			err = expected("a section or statement of a resource", t)
		}
		if err == nil {
			err = p.room(len(r.Connections), maxHosts, "connections")
		}
		if err != nil {
			return err
		}
	}
}

// path names a part of a resource for once.
func (r *Resource) path(part string) string { return r.Name.Text + "\x00" + part }

// host reads what follows on, floating or stacked-on-top-of.
func (p *parser) host(r *Resource, t token) error {
	h := &Host{At: t.at, Floating: t.text == "floating"}
	r.Hosts = append(r.Hosts, h)
	var err error
	path := r.path(fmt.Sprintf("host %d", len(r.Hosts)))
	switch t.text {
	case "floating":
		if h.Address, err = p.address(); err != nil {
			return err
		}
		if t, err = p.next(); err != nil || t.is(";") {
			return err
		}
	case "stacked-on-top-of":
		if h.Stacked, err = p.value("a resource"); err != nil {
			return err
		}
		t, err = p.next()
	default:
		for t, err = p.next(); err == nil && (t.kind == word || t.kind == quoted); t, err = p.next() {
			p.once(t.at, r.path("on "+t.text), "host "+strconv.Quote(t.text))
			h.Names = append(h.Names, Value{Text: t.text, At: t.at})
		}
		if err == nil && len(h.Names) == 0 {
			err = expected("a host's name", t)
		}
	}
	if err != nil {
		return err
	}
	if !t.is("{") {
		return expected(`"{"`, t)
	}
	for {
		t, err := p.statement()
		if err != nil || t.is("}") {
			return err
		}
		if t.kind != word {
			return expected("a statement about a host", t)
		}
		switch t.text {
		case "address":
			p.once(t.at, path+"address", "an address")
			if h.Address, err = p.address(); err == nil {
				err = p.want(";")
			}
		case "node-id":
			if h.NodeID, _, err = p.integer("a node id", 31); err == nil {
				p.once(h.NodeID.At, r.path("node-id "+h.NodeID.Text), "node-id "+h.NodeID.Text)
				err = p.want(";")
			}
		case "volume":
			err = p.volume(&h.Volumes, path+"volume")
		case "disk", "device", "meta-disk", "flexible-meta-disk":
			err = p.volume0(t, &h.Volumes, path+"volume 0", nil)
		case "options":
			err = p.section("options", &h.Options)
		case "proxy", "skip":
			err = p.skip(t.at)
		default:
			err = expected("a statement about a host", t)
		}
		if err != nil {
			return err
		}
	}
}

// address reads [family] address:port.
func (p *parser) address() (Address, error) {
	t, err := p.next()
	a := Address{Family: "ipv4", At: t.at}
	if err == nil && t.kind == word {
		switch t.text {
		case "ipv4", "ipv6", "ssocks", "sdp", "sci":
			a.Family = t.text
			t, err = p.next()
		}
	}
	if err != nil {
		return a, err
	}
	ip := Value{Text: t.text, At: t.at}
	switch {
	case t.is("["):
		a.Family = "ipv6"
		ip, err = p.bracketed()
	case t.kind != word || a.Family == "ipv6":
		err = expected("an address", t)
	}
	if err != nil {
		return a, err
	}
	var bad error
	if a.IP, bad = netip.ParseAddr(ip.Text); bad != nil || a.IP.Is4() == (a.Family == "ipv6") {
		return a, &Error{At: ip.At, Why: "no address of " + a.Family}
	}
	if err := p.want(":"); err != nil {
		return a, err
	}
	_, port, err := p.integer("a port", 65535)
	a.Port = uint16(port)
	return a, err
}
