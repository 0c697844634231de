package kvmha

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/check"
)

// judged lets a check's own rules say what is wrong with it.
func (l *loader) judged(path string, c *ha.Check, spec check.Spec) {
	if err := spec.Validate(); err != nil {
		l.Value(path, fmt.Sprintf("a check of type %q: %v", c.Type, err), "")
	}
}

func (l *loader) checkDisk(path string, raw *rawCheck, c *ha.Check) {
	s := &c.Disk
	s.MinFree, s.MinInodes = check.DefaultMinFree, check.DefaultMinInodes
	strict.Set(&s.Path, raw.Path)
	strict.Set(&s.Mounted, raw.Mounted)
	strict.Set(&s.ReadOnly, raw.ReadOnly)
	strict.Set(&s.MinFree, raw.MinFree)
	strict.Set(&s.MinInodes, raw.MinInodes)
	if l.need(path, "path", raw.Path != nil, "a check of type \"disk\" without a path", `path = "/srv"`) {
		l.judged(path, c, *s)
	}
}

// checkARP asks on the group's interface unless the check names another.
func (l *loader) checkARP(path string, raw *rawCheck, c *ha.Check, iface string) {
	s := &c.ARP
	s.Address, s.Interface = c.Target, iface
	strict.Set(&s.Interface, raw.Interface)
	strict.Set(&s.MAC, raw.MAC)
	if l.need(path, "target", raw.Target != nil, "a check of type \"arp\" without a target", `target = "10.2.0.1"`) && s.Interface != "" {
		l.judged(path, c, *s)
	}
}

func (l *loader) checkSID(path string, raw *rawCheck, c *ha.Check) {
	s := &c.SID
	strict.Set(&s.Peer, raw.Peer)
	strict.Set(&s.DomainOnly, raw.DomainOnly)
	fix := ""
	if names := slices.Sorted(maps.Keys(l.peerTables)); len(names) > 0 {
		fix = fmt.Sprintf("peer = %q", names[0])
	}
	if !l.need(path, "peer", raw.Peer != nil, "a check of type \"sid\" without a peer", fix) {
		return
	}
	if _, ok := l.peerTables[s.Peer]; !ok {
		l.Value(path+".peer", fmt.Sprintf("check.peer: there is no [peer.%s]", s.Peer), fix)
	}
}

func (l *loader) checkPFSync(path string, raw *rawCheck, c *ha.Check) {
	s := &c.PFSync
	s.Interface = check.DefaultPFSync
	strict.Set(&s.Interface, raw.Interface)
	l.judged(path, c, *s)
	l.hasPF(path, *s)
}

// hasPF tells of a check of a packet filter that this system does not have.
func (l *loader) hasPF(path string, s check.Spec) {
	p, err := s.Probe(check.Env{})
	if errors.Is(err, errors.ErrUnsupported) {
		l.Value(path+".type", fmt.Sprintf("check.type %q: %s has no such packet filter", s.Kind(), runtime.GOOS), "")
	}
	if err == nil {
		p.Close()
	}
}
