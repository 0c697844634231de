package conf

import (
	"path"
	"strconv"
	"strings"
)

// volume reads a numbered volume in braces.
func (p *parser) volume(into *[]*Volume, path string) error {
	n, number, err := p.integer("a volume", 65535)
	if err == nil {
		err = p.room(len(*into), maxVolumes, "volumes")
	}
	if err == nil {
		err = p.want("{")
	}
	if err != nil {
		return err
	}
	p.once(n.At, path+" "+n.Text, "volume "+n.Text)
	if len(*into) > 0 && (*into)[0].Implicit {
		p.problem(n.At, "", "volume %d beside one without a number", number)
	}
	v := &Volume{Number: number, Minor: -1, At: n.At}
	*into = append(*into, v)
	for {
		t, err := p.statement()
		if err != nil || t.is("}") {
			return err
		}
		if err := p.volumePart(v, t, path+" "+n.Text, nil); err != nil {
			return err
		}
	}
}

// volume0 reads a statement about the volume that has no section. common takes the options of a whole resource's disk section.
func (p *parser) volume0(t token, into *[]*Volume, path string, common *[]Option) error {
	var v *Volume
	for _, have := range *into {
		if have.Implicit {
			v = have
		}
	}
	if v == nil {
		v = &Volume{Implicit: true, Minor: -1, At: t.at}
	}
	before := len(v.Options)
	if err := p.volumePart(v, t, path, common); err != nil {
		return err
	}
	said := v.Device.Text != "" || v.Minor >= 0 || v.Disk.Text != "" || v.MetaDisk.Text != "" || len(v.Options) > before
	for _, have := range *into {
		if said && !have.Implicit {
			p.problem(t.at, "", "a volume without a number beside volume %d", have.Number)
			break
		}
	}
	if said && (len(*into) == 0 || !(*into)[0].Implicit) {
		*into = append([]*Volume{v}, *into...)
	}
	return nil
}

// volumePart reads one statement about a volume.
func (p *parser) volumePart(v *Volume, t token, path string, common *[]Option) (err error) {
	if t.kind != word {
		return expected("a statement about a volume", t)
	}
	switch t.text {
	case "disk":
		d, err := p.next()
		if err != nil {
			return err
		}
		if d.is("{") {
			if common == nil {
				common = &v.Options
			}
			p.once(t.at, path+"disk section", "a disk section")
			return p.options("disk", common)
		}
		p.once(t.at, path+"disk", "a disk")
		if d.kind != word && d.kind != quoted {
			return expected("a device", d)
		}
		v.Disk = Value{Text: d.text, At: d.at}
		return p.want(";")
	case "device":
		p.once(t.at, path+"device", "a device")
		return p.device(v)
	case "meta-disk", "flexible-meta-disk":
		p.once(t.at, path+"meta-disk", "a meta-disk")
		if v.MetaDisk, err = p.value("a device"); err != nil {
			return err
		}
		if t, err = p.next(); err == nil && t.is("[") {
			if v.MetaIndex, _, err = p.integer("an index", 1<<20); err == nil {
				if err = p.want("]"); err == nil {
					t, err = p.next()
				}
			}
		}
		if err == nil && !t.is(";") {
			err = expected(`";"`, t)
		}
		return err
	case "tiebreaker":
		_, err = p.ended("yes or no")
		return err
	case "skip":
		return p.skip(t.at)
	}
	return expected("a statement about a volume", t)
}

// device reads /dev/drbd1, "/dev/drbd1 minor 1" or "minor 1".
func (p *parser) device(v *Volume) error {
	t, err := p.next()
	if err != nil {
		return err
	}
	if t.kind == quoted || t.kind == word && t.text != "minor" {
		v.Device = Value{Text: t.text, At: t.at}
		if strings.HasPrefix(t.text, "drbd") {
			v.Device.Text = path.Join("/dev", t.text)
		}
		number, named := strings.CutPrefix(v.Device.Text, "/dev/drbd")
		if n, err := strconv.ParseUint(number, 10, 20); named && err == nil {
			v.Minor, v.MinorAt = int(n), t.at
		}
		if !named {
			p.problem(t.at, "", "a device's name begins with /dev/drbd")
		}
		if t, err = p.next(); err != nil {
			return err
		}
		if t.is(";") {
			if named && v.Minor < 0 {
				p.problem(v.Device.At, "", "neither a minor nor a name that tells it")
			}
			return nil
		}
	}
	if !t.is("minor") {
		return expected(`"minor" or ";"`, t)
	}
	at, minor, err := p.integer("a minor", 1<<20-1)
	if err != nil {
		return err
	}
	if v.Minor >= 0 && v.Minor != minor {
		p.problem(at.At, "", "minor %d of a device whose name says %d", minor, v.Minor)
	}
	v.Minor, v.MinorAt = minor, at.At
	if v.Device.Text == "" {
		v.Device = Value{Text: "/dev/drbd" + strconv.Itoa(minor), At: at.At}
	}
	return p.want(";")
}
