// Package overview says of DRBD's states what a person looks at: how each resource stands here and there, what is wrong about it, and what to type next.
package overview

import (
	"fmt"
	"slices"
	"time"

	"kvmctl/ha/drbd"
)

// Facts are what is known of this node's resources.
type Facts struct {
	Configured []string              // drbd.conf has them for this host
	State      drbd.State            // of those that are up
	Proc       drbd.Proc             // up to 8.4: amounts that its states do not tell
	Causes     map[string]drbd.Apart // why resources are StandAlone
}

// View is one resource.
type View struct {
	Resource   string `json:"resource"`
	Up         bool   `json:"up"`
	Role       string `json:"role,omitempty"`
	PeerRole   string `json:"peer_role,omitempty"`
	Disk       string `json:"disk,omitempty"`
	PeerDisk   string `json:"peer_disk,omitempty"`
	Connection string `json:"connection,omitempty"`
	OutOfSync  uint64 `json:"out_of_sync_kib"` // differs, or may
	Work       *Work  `json:"work,omitempty"`  // nil: nothing is under way
	Cause      string `json:"cause,omitempty"` // why it is StandAlone
	Wrong      string `json:"wrong,omitempty"` // the first thing that is; empty: all is well
	Next       string `json:"next,omitempty"`  // what to type; empty: nothing, or nothing that is always right

	found bool // all that is wrong is what a verification found
}

// NotNow says why both sides are not to be compared now; empty: they may be.
func (v View) NotNow() string {
	if v.found {
		return ""
	}
	return v.Wrong
}

// Work is a resync or a verification.
type Work struct {
	Kind    string        `json:"kind"` // "resync to the peer", "resync to here", "verification"
	Percent float64       `json:"percent"`
	Left    time.Duration `json:"-"` // 0: not told
	Seconds float64       `json:"left_seconds,omitempty"`
	Paused  bool          `json:"paused,omitempty"`
}

// Views gives every resource that is configured or up, in the order of drbd.conf.
func Views(f Facts) (all []View) {
	for _, name := range f.Configured {
		r, ok := f.State.Resource(name)
		if !ok {
			all = append(all, View{Resource: name, Wrong: "drbd.conf has it, and it is not up", Next: "drbdadm up " + name})
			continue
		}
		all = append(all, f.view(r))
	}
	for _, r := range f.State.Resources {
		if !slices.Contains(f.Configured, r.Name) {
			v := f.view(r)
			if v.Wrong == "" {
				v.Wrong, v.Next = "it is up, and drbd.conf does not have it for this host", "kvmha drbd lint"
			}
			all = append(all, v)
		}
	}
	return all
}

func (f Facts) view(r drbd.Resource) View {
	v := View{Resource: r.Name, Up: true, Role: r.Role.String(), Disk: disks(r), OutOfSync: r.OutOfSync(), Connection: drbd.StandAlone.String()}
	for _, p := range r.Peers {
		v.PeerRole, v.PeerDisk, v.Connection = p.Role.String(), peerDisks(p), p.Connection.String()
		for _, one := range p.Volumes {
			v.work(one)
		}
	}
	f.amounts(&v, r)
	if a := f.Causes[r.Name]; r.StandAlone() {
		v.Cause = a.Cause.String()
	}
	if v.Wrong, v.Next = wrong(v, r, f.Causes[r.Name]); v.Wrong == "" && v.OutOfSync > 0 && v.Work == nil {
		v.found = true
		v.Wrong, v.Next = differs(v, r)
	}
	return v
}

// work notes the one of the volumes that is the farthest from its end.
func (v *View) work(p drbd.PeerVolume) {
	w := Work{Percent: p.Done, Paused: p.Paused}
	switch way := p.Replication.Direction(); {
	case way != drbd.Nowhere:
		w.Kind = "resync " + way.String()
	case p.Replication == drbd.VerifyS || p.Replication == drbd.VerifyT:
		w.Kind = Verification
	default:
		return
	}
	if v.Work == nil || v.Work.Percent > w.Percent {
		v.Work = &w
	}
}

// amounts takes from /proc/drbd what 8.4 tells nowhere else.
func (f Facts) amounts(v *View, r drbd.Resource) {
	var sum uint64
	found := false
	for _, m := range f.Proc.Minors {
		for _, one := range r.Volumes {
			if m.Minor != one.Minor || !m.Configured {
				continue
			}
			found = true
			sum += m.OutOfSync
			if v.Work != nil && m.Left >= v.Work.Left { // the one that ends last
				v.Work.Left, v.Work.Seconds, v.Work.Percent = m.Left, m.Left.Seconds(), m.Done
			}
		}
	}
	if found {
		v.OutOfSync = sum
	}
}

func disks(r drbd.Resource) string {
	all := make([]drbd.Disk, 0, len(r.Volumes))
	for _, v := range r.Volumes {
		all = append(all, v.Disk)
	}
	return worst(all)
}

func peerDisks(p drbd.Peer) string {
	all := make([]drbd.Disk, 0, len(p.Volumes))
	for _, v := range p.Volumes {
		all = append(all, v.Disk)
	}
	return worst(all)
}

// worst is the state of the volume that is the least good; DRBD's own order has the best last.
func worst(all []drbd.Disk) string {
	if len(all) == 0 {
		return ""
	}
	return slices.Min(all).String()
}

// wrong says what a person has to know first.
func wrong(v View, r drbd.Resource, why drbd.Apart) (text, next string) {
	switch {
	case len(r.Volumes) == 0:
		return "it has no volume here", "drbdadm adjust " + r.Name
	case r.Failed() && r.Role == drbd.Primary && r.Connected():
		return "its disk here is lost or detached, and it works with the peer's", "kvmha switch <group>, then see to the disk"
	case r.Failed():
		return "its disk here is lost or detached", "drbdadm up " + r.Name + ", once there is a disk"
	case r.Suspended != 0:
		return "writes stand still: " + r.Suspended.String(), "kvmha status"
	case r.StandAlone():
		return apart(r.Name, why)
	case !r.Connected():
		return "the peer does not answer", "kvmha drbd status, on the peer"
	case v.Work != nil && v.Work.Paused:
		return v.Work.Kind + " is paused", "drbdadm resume-sync " + r.Name
	case v.Work != nil && v.Work.Kind != Verification:
		return v.Work.Kind + " is under way", ""
	case !r.AllUpToDate() && !r.PeerUpToDate() && v.Disk == v.PeerDisk:
		return "neither side's data are known to be good", "kvmha drbd init " + r.Name
	case !r.AllUpToDate():
		return "the data here are not up to date (" + v.Disk + ")", ""
	case !r.PeerUpToDate():
		return "the peer's data are not up to date (" + v.PeerDisk + ")", ""
	}
	return "", ""
}

// Verification is the kind of a Work that compares.
const Verification = "verification"

// differs says what a verification found. DRBD overwrites what is marked when it connects again, and by what the primary has; with none it does nothing ("No resync,
// but 2 bits in bitmap!", measured on 8.4.11), and to invalidate a side resyncs all of it.
func differs(v View, r drbd.Resource) (text, next string) {
	text = fmt.Sprintf("both sides say that they are up to date, and %d KiB differ: a verification found them; ", v.OutOfSync)
	again := "drbdadm disconnect " + r.Name + " && drbdadm connect " + r.Name
	switch {
	case r.Role == drbd.Primary:
		return text + "what this side has overwrites the peer's", again
	case r.PeerPrimary():
		return text + "what the primary has overwrites them", again + ", where it is primary"
	}
	return text + "nobody is primary, so a person chooses whose data stay, and all of the other's are overwritten", "drbdadm invalidate-remote " + r.Name + ", where the data stay"
}

// apart is wrong for a resource that is StandAlone.
func apart(name string, why drbd.Apart) (text, next string) {
	text = "it is StandAlone: "
	switch why.Cause {
	case drbd.ByAdmin:
		return text + "somebody disconnected it", "drbdadm connect " + name
	case drbd.WrongSecret:
		return text + "the shared secrets differ", "kvmha drbd lint"
	case drbd.OtherProtocol, drbd.OtherSettings:
		return text + why.Cause.String() + at(why), "kvmha drbd lint"
	case drbd.Unrelated:
		return text + why.Cause.String() + at(why), "kvmha drbd resolve " + name
	case drbd.SplitBrain:
		if why.Met > 0 {
			text += fmt.Sprintf("split brain; when they met last, %d KiB had changed here and %d KiB at the peer", why.Here, why.There)
		} else {
			text += "split brain"
		}
		return text, "kvmha drbd resolve " + name
	case drbd.TwoPrimaries:
		return text + "both were primary", "kvmha status"
	case drbd.Unclear:
	}
	return text + "the kernel's log does not say why", "drbdadm connect " + name
}

func at(why drbd.Apart) string {
	if why.Said == "" {
		return ""
	}
	return " (" + why.Said + ")"
}
