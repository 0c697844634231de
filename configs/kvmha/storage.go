package kvmha

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/peer"
	"kvmctl/ha/right"
)

// storage fills what a group has of DRBD and file systems, and tells what is missing for it to be safe (FAILOVER.md, safety 3 and 10).
func (l *loader) storage(path string, raw *rawGroup, g *ha.Group) {
	s := &g.Storage
	strict.Set(&s.Alone, raw.Alone)
	strict.Set(&s.Fence, raw.Fence)
	strict.SetTime(&s.FenceAfter, raw.FenceAfter)
	strict.SetTime(&s.AddressWait, raw.AddressWait)
	s.Verify = l.timeOfDay(path+".verify", raw.Verify)
	for i := range raw.DRBD {
		s.Resources = append(s.Resources, l.resource(strict.Element(path+".drbd", i), &raw.DRBD[i]))
	}
	for i := range raw.Mounts {
		s.Mounts = append(s.Mounts, l.mount(strict.Element(path+".mount", i), &raw.Mounts[i]))
	}
	if len(raw.DRBD) == 0 {
		l.noStorage(path, raw)
		return
	}
	l.alone(path, raw, g)
	l.fenceOf(path, raw, g)
	if g.Peer != ha.PeerKVMHA && !l.Bad[path+".peer"] {
		l.Value(path+".peer", fmt.Sprintf("storage with peer = %q: nothing but kvmha on both sides keeps two nodes from writing", g.Peer), `peer = "kvmha"`)
	}
}

// noStorage refuses what has no use without a resource.
func (l *loader) noStorage(path string, raw *rawGroup) {
	for _, f := range []struct {
		key string
		set bool
	}{
		{"alone", raw.Alone != nil}, {"fence", raw.Fence != nil}, {"fence_after", raw.FenceAfter != nil}, {"address_wait", raw.AddressWait != nil},
		{"verify", raw.Verify != nil}, {"mount", len(raw.Mounts) > 0},
	} {
		if f.set && !l.Bad[path+"."+f.key] {
			l.Key(path+"."+f.key, f.key+" without a [[drbd]]: the group has no storage", `add a [[group.<name>.drbd]] with its resource`)
		}
	}
}

// members gives the other nodes that may serve.
func (l *loader) members() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(l.peerTables)) {
		if role := l.peerTables[name].Role; role == nil || *role == string(peer.Member) {
			names = append(names, name)
		}
	}
	return names
}

// arbiters gives the nodes that decide for others.
func (l *loader) arbiters() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(l.peerTables)) {
		if role := l.peerTables[name].Role; role != nil && *role == string(peer.Arbiter) {
			names = append(names, name)
		}
	}
	return names
}

// alone looks at who may go on without the other.
func (l *loader) alone(path string, raw *rawGroup, g *ha.Group) {
	members := l.members()
	if len(members) != 1 {
		l.Value(path, fmt.Sprintf("group %q has storage, and the file %d peers that may serve it: it wants exactly one", g.Name, len(members)),
			`one [peer.<name>] with role = "member"`)
		return
	}
	if l.node == nil {
		l.Value(path, fmt.Sprintf("group %q has storage, and the file does not say which of the two nodes this is", g.Name), `node = "…", as the other node's [peer.<name>] calls it`)
		return
	}
	if !l.need(path, "alone", raw.Alone != nil, fmt.Sprintf("group %q has storage, and nobody may go on alone with it when the other node cannot be asked", g.Name),
		fmt.Sprintf(`alone = %s, "arbiter" or "fence", the same on both nodes`, strict.Quote(*l.node))) || l.Bad[path+".alone"] {
		return
	}
	by, err := right.ParseAlone(*raw.Alone, *l.node, members[0])
	switch at := path + ".alone"; {
	case err != nil:
		l.Value(at, fmt.Sprintf("alone wants %s, %s, \"arbiter\" or \"fence\", got %s", strict.Quote(*l.node), strict.Quote(members[0]), strict.Quote(*raw.Alone)), "")
	case by.Who == right.ByArbiter:
		if len(l.arbiters()) == 0 && !l.inEtcd() {
			l.Value(at, `alone = "arbiter", and the file has no arbiter`, `a [peer.<name>] with role = "arbiter", or an [arbiter.etcd]`)
		}
	case by.Who == right.ByFence:
		if raw.Fence == nil {
			l.Value(at, `alone = "fence", and the group has no fence`, `fence = "<name>" and a [fence.<name>]`)
		}
	}
}

func (l *loader) fenceOf(path string, raw *rawGroup, g *ha.Group) {
	if raw.Fence == nil || l.Bad[path+".fence"] {
		return
	}
	if _, known := l.fenceTables[g.Storage.Fence]; !known {
		l.Value(path+".fence", fmt.Sprintf("there is no [fence.%s]", g.Storage.Fence), "")
	}
}

func (l *loader) resource(path string, raw *rawResource) (r ha.Resource) {
	strict.Set(&r.Name, raw.Resource)
	if l.need(path, "resource", raw.Resource != nil, "a [[drbd]] without a resource", `resource = "r0", as drbd.conf calls it`) && !validResource(r.Name) {
		l.Value(path+".resource", fmt.Sprintf("bad name %s of a DRBD resource", strict.Quote(r.Name)), "")
	}
	return r
}

// validResource keeps out what drbdadm would take for an option, for all resources or for a volume.
func validResource(name string) bool {
	return name != "" && len(name) <= 64 && name != "all" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == "" && name[0] != '-'
}

func (l *loader) mount(path string, raw *rawMount) ha.Mount {
	m := ha.Mount{Type: ha.DefaultFileSystem, Fsck: ha.DefaultFsck, MountTimeout: ha.DefaultMountTimeout, UnmountTimeout: ha.DefaultUnmountTimeout}
	strict.Set(&m.Device, raw.Device)
	strict.Set(&m.Dir, raw.Dir)
	strict.Set(&m.Type, raw.Type)
	strict.Set(&m.Options, raw.Options)
	strict.Set(&m.Fsck, raw.Fsck)
	strict.SetTime(&m.MountTimeout, raw.MountTimeout)
	strict.SetTime(&m.UnmountTimeout, raw.UnmountTimeout)
	for _, f := range []struct {
		key, value, eg string
		set            bool
	}{{"device", m.Device, `device = "/dev/drbd0"`, raw.Device != nil}, {"directory", m.Dir, `directory = "/srv"`, raw.Dir != nil}} {
		if l.need(path, f.key, f.set, "a [[mount]] without a "+f.key, f.eg) && (!filepath.IsAbs(f.value) || filepath.Clean(f.value) != f.value || f.value == "/") && !l.Bad[path+"."+f.key] {
			l.Value(path+"."+f.key, fmt.Sprintf("mount.%s wants an absolute path, got %s", f.key, strict.Quote(f.value)), f.eg)
		}
	}
	return m
}

// fences gives the ways to end a peer, in the order of the file.
func (l *loader) fences(raw map[string]rawFence) (all []ha.Fence) {
	at := map[string]int{}
	for name := range raw {
		at[name] = l.Offset(strict.Join("fence", name))
	}
	for _, name := range slices.SortedFunc(maps.Keys(raw), func(a, b string) int { return cmp.Compare(at[a], at[b]) }) {
		r, path := raw[name], strict.Join("fence", name)
		f := ha.Fence{Name: name, Timeout: ha.DefaultFenceTimeout, Parameters: r.Parameters}
		strict.SetAs(&f.Kind, r.Type)
		strict.Set(&f.VM, r.VM)
		strict.Set(&f.Agent, r.Agent)
		strict.SetTime(&f.Timeout, r.Timeout)
		f.Password, _ = l.secret(path, "password", r.Password, r.PasswordFile)
		if why := badGroupName(name); why != "" {
			l.Key(path, fmt.Sprintf("bad fence name %q: %s", name, why), "")
		}
		if l.need(path, "type", r.Type != nil, "a [fence.<name>] without a type", `type = "kvmctl", "exec" or "manual"`) && !l.Bad[path+".type"] {
			l.fenceFields(path, &r, &f)
		}
		all = append(all, f)
	}
	return all
}

// fenceFields tells what a fence's type lacks or cannot use.
func (l *loader) fenceFields(path string, raw *rawFence, f *ha.Fence) {
	exec := f.Kind == ha.FenceExec
	for _, k := range []struct {
		key     string
		set, ok bool
	}{
		{"vm", raw.VM != nil, f.Kind == ha.FenceKVMCTL}, {"agent", raw.Agent != nil, exec}, {"parameters", raw.Parameters != nil, exec},
		{"password", raw.Password != nil, exec}, {"password_file", raw.PasswordFile != nil, exec}, {"timeout", raw.Timeout != nil, f.Kind != ha.FenceManual},
	} {
		if k.set && !k.ok && !l.Bad[path+"."+k.key] {
			l.Key(path+"."+k.key, fmt.Sprintf("fence.%s beside type = %q: it has no use there", k.key, f.Kind), "")
		}
	}
	switch f.Kind {
	case ha.FenceKVMCTL:
		l.need(path, "vm", raw.VM != nil, `a fence of type "kvmctl" without a vm`, `vm = "vm-varda", as kvmctl calls the peer`)
	case ha.FenceExec:
		if l.need(path, "agent", raw.Agent != nil, `a fence of type "exec" without an agent`, `agent = "/usr/sbin/fence_ipmilan"`) {
			l.program(path+".agent", []string{f.Agent})
		}
		for i, p := range raw.Parameters {
			name, _, ok := strings.Cut(p, "=")
			at := strict.Element(path+".parameters", i)
			switch {
			case l.Bad[at]:
			case !ok || name == "" || strings.ContainsAny(p, "\n\r"):
				l.Value(at, "fence.parameters wants name=value, got "+strict.Quote(p), "")
			case name == "password" || name == "passwd" || name == "action":
				l.Value(at, fmt.Sprintf("fence.parameters has %q, which is said otherwise", name), `password_file = "…"; the action is always off`)
			}
		}
	case ha.FenceManual:
	}
}

// storageTogether finds what only one group may have.
func (l *loader) storageTogether(groups []ha.Group) {
	resources, dirs := strict.Firsts[string]{}, strict.Firsts[string]{}
	for _, g := range groups {
		path := strict.Join("group", g.Name)
		for i, r := range g.Storage.Resources {
			at := strict.Element(path+".drbd", i) + ".resource"
			if line, taken := resources.Taken(l.Document, r.Name, at); taken && r.Name != "" {
				l.Value(at, fmt.Sprintf("resource %s is in line %d already", r.Name, line), "")
			}
		}
		for i, m := range g.Storage.Mounts {
			at := strict.Element(path+".mount", i) + ".directory"
			if line, taken := dirs.Taken(l.Document, m.Dir, at); taken && m.Dir != "" {
				l.Value(at, fmt.Sprintf("%s is mounted by line %d already", m.Dir, line), "")
			}
		}
	}
}
