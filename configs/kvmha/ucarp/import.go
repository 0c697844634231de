package ucarp

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"kvmctl/ha"
)

// maxGroups bounds how many files of interfaces are read.
const maxGroups = 255

// Group is one ucarp as a group of kvmha.
type Group struct {
	ha.Group
	PasswordFile string // that of ucarp's -o, already there; empty: Password has to be written to a file
}

// Import is what was read.
type Import struct {
	Groups []Group
	Notes  []string // a sentence for each thing that has no counterpart or needs a look; none shows a password
}

// Files reads the file of common settings, and a file for each ucarp that they are common to; without such files the common one is a ucarp itself.
// networks are interfaces(5) files, whose stanzas Debian's ifup starts ucarps by.
func Files(common *Source, each []Source, networks ...Source) (Import, error) {
	var im Import
	var base Options
	if common != nil {
		o, notes, err := read(*common)
		if err != nil {
			return im, err
		}
		base = o
		im.Notes = append(im.Notes, notes...)
	}
	if len(each) > maxGroups {
		return im, fmt.Errorf("%d files: at most %d are read", len(each), maxGroups)
	}
	for _, src := range each {
		o, notes, err := read(src)
		if err != nil {
			return im, err
		}
		im.Notes = append(im.Notes, notes...)
		o = o.over(base)
		name := filepath.Base(src.Name)
		if _, given := o.Get("interface"); !given && interfaceLike().MatchString(name) {
			o.set("interface", name)
		}
		if err := im.add(strings.TrimSuffix(name, ".conf"), src.Name, o); err != nil {
			return im, err
		}
	}
	if len(each) == 0 && common != nil {
		if err := im.add("", common.Name, base); err != nil {
			return im, err
		}
	}
	for _, src := range networks {
		if err := im.stanzas(src); err != nil {
			return im, err
		}
	}
	return im, nil
}

// Args reads one command line.
func Args(args []string) (Import, error) {
	var im Import
	o, err := ParseArgs(args)
	if err != nil {
		return im, err
	}
	return im, im.add("", "the command line", o)
}

var (
	interfaceLike = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,14}$`) })
	notInName     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[^A-Za-z0-9_-]+`) })
)

func (im *Import) note(from, format string, args ...any) {
	im.Notes = append(im.Notes, from+": "+fmt.Sprintf(format, args...))
}

// add makes a group of one ucarp's options.
func (im *Import) add(name, from string, o Options) error {
	g := Group{Group: ha.DefaultGroup("")}
	g.Peer = ha.PeerUCARP
	var err error
	number := func(long string, low, high, def int) int {
		v, given := o.Get(long)
		if !given {
			return def
		}
		n, e := strconv.Atoi(v)
		if e != nil || n < low || n > high {
			if err == nil {
				err = fmt.Errorf("%s: --%s wants a number from %d to %d", from, long, low, high)
			}
			return def
		}
		return n
	}
	g.VHID = uint8(number("vhid", 1, 255, 0))
	g.Base = number("advbase", 0, 255, 1)
	g.Skew = number("advskew", 0, 255, 0)
	g.DeadRatio = number("deadratio", 1, 255, 3)
	if err != nil {
		return err
	}
	g.Interface, _ = o.Get("interface")
	for _, long := range []string{"vhid", "addr", "interface"} {
		if _, given := o.Get(long); !given {
			return fmt.Errorf("%s: no --%s: that is no whole ucarp", from, long)
		}
	}
	address, _ := o.Get("addr")
	a, e := netip.ParseAddr(address)
	if e != nil || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%s: --addr wants an IPv4 address that a node can have", from)
	}
	g.Addresses = []netip.Addr{a}
	if name = strings.Trim(notInName().ReplaceAllString(name, "-"), "-_"); name == "" || name == "all" || len(name) > 30 {
		name = fmt.Sprintf("vip%d", g.VHID)
	}
	g.Name = im.free(name)
	im.bounds(from, &g)
	im.secret(from, &g, &o)
	im.scripts(from, &g, &o)
	im.switches(from, &g, &o)
	im.Groups = append(im.Groups, g)
	return nil
}

// free gives a name that no other group has.
func (im *Import) free(name string) string {
	taken := func(s string) bool {
		for _, g := range im.Groups {
			if g.Name == s {
				return true
			}
		}
		return false
	}
	out := name
	for i := 2; taken(out); i++ {
		out = fmt.Sprintf("%s-%d", name, i)
	}
	return out
}

// bounds brings figures that ucarp takes and nobody should use into kvmha's range.
func (im *Import) bounds(from string, g *Group) {
	if g.Base == 0 {
		g.Base = 1
		im.note(from, "--advbase=0: both nodes take turns with it (31 changes in 15 s were measured); base = 1 is written, change the peer's, too")
	}
	if g.Base > ha.MaxBase || g.Skew > ha.MaxSkew {
		g.Base, g.Skew = min(g.Base, ha.MaxBase), min(g.Skew, ha.MaxSkew)
		im.note(from, "255 means goodbye to other implementations; 254 is written")
	}
	if g.DeadRatio < 2 || g.DeadRatio > 100 {
		im.note(from, "--deadratio=%d: kvmha takes 2 to 100; %d is written", g.DeadRatio, min(max(g.DeadRatio, 2), 100))
		g.DeadRatio = min(max(g.DeadRatio, 2), 100)
	}
}

func (im *Import) secret(from string, g *Group, o *Options) {
	file, byFile := o.Get("passfile")
	pass, byWord := o.Get("pass")
	switch {
	case byFile && byWord:
		im.note(from, "--pass and --passfile: the file is taken; compare the two")
		fallthrough
	case byFile:
		g.PasswordFile = file
		if !filepath.IsAbs(file) {
			im.note(from, "--passfile is no absolute path: write one to password_file")
		}
		im.note(from, "ucarp reads the first line of %s only; kvmha wants the file to have no other, and the mode 0600", file)
	case byWord:
		g.Password = ha.NewSecret(pass)
		if len(pass) > ha.MaxPassword {
			im.note(from, "the password has more than %d bytes: neither ucarp nor kvmha takes it", ha.MaxPassword)
		}
	default:
		im.note(from, "no password: kvmha wants one, the same on both nodes")
	}
}

// The scripts of Debian's package add and delete the address by ifup and ifdown.
const (
	debianUp   = "/usr/share/ucarp/vip-up"
	debianDown = "/usr/share/ucarp/vip-down"
)

func (im *Import) scripts(from string, g *Group, o *Options) {
	up, hasUp := o.Get("upscript")
	down, hasDown := o.Get("downscript")
	x, hasX := o.Get("xparam")
	if hasUp && up == debianUp || hasDown && down == debianDown {
		im.note(from, "%s and %s run ifup and ifdown of %s:ucarp: left out, kvmha adds the address itself; take that stanza out of /etc/network/interfaces", debianUp, debianDown, g.Interface)
		hasUp, hasDown = hasUp && up != debianUp, hasDown && down != debianDown
	}
	for _, s := range []struct {
		path string
		has  *bool
		long string
	}{{up, &hasUp, "upscript"}, {down, &hasDown, "downscript"}} {
		if *s.has && (!filepath.IsAbs(s.path) || strings.ContainsFunc(s.path, func(r rune) bool { return r < ' ' })) {
			*s.has = false
			im.note(from, "--%s is no absolute path: left out, write it to the [[unit]] yourself", s.long)
		}
	}
	if !hasUp && !hasDown {
		if hasX {
			im.note(from, "--xparam without a script of its own: left out")
		}
		return
	}
	u := ha.DefaultUnit(ha.UnitUCARP, g.Name+" scripts")
	if u.XParam = x; hasUp {
		u.Start = []string{up}
	} else {
		u.Start = []string{"/bin/true"}
		im.note(from, "there is a down script and no up script: /bin/true stands for it")
	}
	if hasDown {
		u.Stop = []string{down}
	}
	g.Units = []ha.Unit{u}
	im.note(from, "the scripts are called as ucarp does, but before the address is there and after it is gone: take out of them what adds and deletes the address, kvmha does that itself; "+
		"what needs the address belongs into the group's hooks")
}

// switches says what becomes of the other options.
func (im *Import) switches(from string, g *Group, o *Options) {
	has := func(long string) bool { _, ok := o.Get(long); return ok }
	if has("preempt") {
		g.Preempt, g.PreemptDelay = true, 0
	}
	g.IgnoreCarrier = has("ignoreifstate")
	if m, ok := o.Get("mcast"); ok && m != "224.0.0.18" {
		im.note(from, "--mcast: kvmha speaks to CARP's own group 224.0.0.18 only; a peer with another one would not hear it")
	}
	if has("nomcast") {
		im.note(from, "--nomcast: no counterpart; adverts are multicast, which a peer with --nomcast hears as well where the network carries it")
	}
	if has("srcip") {
		im.note(from, "--srcip: not needed, kvmha takes the interface's own address")
	}
	if has("facility") {
		im.note(from, "--facility: no counterpart; [log] to = \"syslog\" writes as daemon")
	}
	if !has("shutdown") && len(g.Units) > 0 {
		im.note(from, "without --shutdown ucarp leaves everything as it is when it stops; kvmha always hands over and runs the down script")
	}
	if has("neutral") {
		im.note(from, "--neutral: not needed, kvmha runs no down script at its start")
	}
	if has("daemonize") || has("debug") {
		im.note(from, "--daemonize and --debug: no counterpart; systemd or the init script runs kvmha")
	}
}
