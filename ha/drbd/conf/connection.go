package conf

// connection reads a connection section of DRBD 9.
func (p *parser) connection(r *Resource, at Position) error {
	c := &Connection{At: at}
	r.Connections = append(r.Connections, c)
	t, err := p.next()
	if err == nil && (t.kind == word || t.kind == quoted) { // a name, which drbdadm ignores
		t, err = p.next()
	}
	if err == nil && !t.is("{") {
		err = expected(`"{"`, t)
	}
	if err != nil {
		return err
	}
	for {
		t, err := p.statement()
		if err != nil || t.is("}") {
			return err
		}
		if t.kind != word {
			return expected("a statement about a connection", t)
		}
		switch t.text {
		case "host":
			err = p.end(c)
		case "path":
			err = p.path(c)
		case "net", "disk":
			err = p.section(t.text, &c.Options)
		case "volume":
			err = p.peerDevice(c)
		case "skip":
			err = p.skip(t.at)
		default:
			err = expected("a statement about a connection", t)
		}
		if err != nil {
			return err
		}
	}
}

// path reads one of several paths of a connection.
func (p *parser) path(c *Connection) error {
	if err := p.want("{"); err != nil {
		return err
	}
	for {
		t, err := p.statement()
		if err != nil || t.is("}") {
			return err
		}
		if !t.is("host") {
			return expected(`"host"`, t)
		}
		if err := p.end(c); err != nil {
			return err
		}
	}
}

// end reads host name [address …] [port n] [via …];
func (p *parser) end(c *Connection) error {
	var e End
	err := p.room(len(c.Ends), 8*maxHosts, "hosts")
	if err != nil {
		return err
	}
	if e.Host, err = p.value("a host's name"); err != nil {
		return err
	}
	for {
		t, err := p.next()
		switch {
		case err != nil:
			return err
		case t.is(";"):
			c.Ends = append(c.Ends, e)
			return nil
		case t.is("address"):
			e.Address, err = p.address()
		case t.is("port"):
			var n int
			_, n, err = p.integer("a port", 65535)
			e.Port = uint16(n)
		case t.is("via"):
			if t, err = p.next(); err == nil && t.is("outside-address") {
				_, err = p.address()
			} else if err == nil { // a proxy, whose braces end the statement
				c.Ends = append(c.Ends, e)
				return p.skip(t.at)
			}
		default:
			err = expected(`"address", "port" or ";"`, t)
		}
		if err != nil {
			return err
		}
	}
}

// peerDevice reads volume n { disk { … } } of a connection.
func (p *parser) peerDevice(c *Connection) error {
	at, n, err := p.integer("a volume", 65535)
	if err == nil {
		err = p.room(len(c.Volumes), maxVolumes, "volumes")
	}
	if err != nil {
		return err
	}
	v := &Volume{Number: n, Minor: -1, At: at.At}
	c.Volumes = append(c.Volumes, v)
	if err := p.want("{"); err != nil {
		return err
	}
	for {
		t, err := p.statement()
		if err != nil || t.is("}") {
			return err
		}
		if !t.is("disk") {
			return expected(`"disk"`, t)
		}
		if err := p.section("disk", &v.Options); err != nil {
			return err
		}
	}
}

// mesh reads connection-mesh { hosts a b c; net { … } }.
func (p *parser) mesh(r *Resource, at Position) error {
	c := &Connection{Mesh: true, At: at}
	r.Connections = append(r.Connections, c)
	if err := p.want("{"); err != nil {
		return err
	}
	for {
		t, err := p.statement()
		if err != nil || t.is("}") {
			return err
		}
		switch {
		case t.is("hosts"):
			for t, err = p.next(); err == nil && (t.kind == word || t.kind == quoted); t, err = p.next() {
				if err := p.room(len(c.Ends), maxHosts, "hosts"); err != nil {
					return err
				}
				c.Ends = append(c.Ends, End{Host: Value{Text: t.text, At: t.at}})
			}
			if err == nil && !t.is(";") {
				err = expected(`";"`, t)
			}
		case t.is("net"):
			err = p.section("net", &c.Options)
		default:
			err = expected(`"hosts" or "net"`, t)
		}
		if err != nil {
			return err
		}
	}
}
