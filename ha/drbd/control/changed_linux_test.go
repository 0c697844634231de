package control

import (
	"testing"

	"kvmctl/ha/drbd"
)

func TestChangedOf(t *testing.T) {
	one := drbd.Resource{Volumes: []drbd.Volume{{Minor: 3}}}
	two := drbd.Resource{Volumes: []drbd.Volume{{Minor: 3}, {Minor: 4}}}
	nine := drbd.Resource{Volumes: []drbd.Volume{{Minor: 3}}, Peers: []drbd.Peer{{Connection: drbd.StandAlone, Volumes: []drbd.PeerVolume{{OutOfSync: 16}}}}}
	bare := drbd.Resource{Volumes: []drbd.Volume{{Minor: 3}}, Peers: []drbd.Peer{{Connection: drbd.StandAlone}}}
	proc := drbd.Proc{Minors: []drbd.ProcMinor{{Minor: 0, Configured: true, OutOfSync: 4}, {Minor: 3, Configured: true, OutOfSync: 8}}}
	for _, tt := range []struct {
		name  string
		p     drbd.Proc
		r     drbd.Resource
		kib   uint64
		known bool
	}{
		{"its own minor", proc, one, 8, true}, {"one of two", proc, two, 0, false}, {"none", drbd.Proc{}, one, 0, false}, {"DRBD 9", drbd.Proc{}, nine, 16, true},
		{"DRBD 9 without a count", drbd.Proc{}, bare, 0, false},
	} {
		if kib, known := changedOf(tt.p, tt.r); known != tt.known || known && kib != tt.kib {
			t.Errorf("%s: %d, %v", tt.name, kib, known)
		}
	}
}
