package explain

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/peer"
	"kvmctl/ha/right"
)

// stored is a file of node "a" with a group "files" on DRBD, whose other node is "b".
func stored(alone string, fence *ha.Fence, edit func(*ha.Spec)) ha.Spec {
	s := ha.Spec{Node: "a", Mail: mail, Channel: ha.Channel{Listen: []string{":4694"}},
		Peers: []peer.Node{{Name: "b", Role: peer.Member, Addresses: []netip.AddrPort{netip.MustParseAddrPort("10.2.0.2:4694"), netip.MustParseAddrPort("10.9.0.2:4694")}},
			{Name: "witness", Role: peer.Arbiter, Addresses: []netip.AddrPort{netip.MustParseAddrPort("10.2.0.3:4694")}}},
		Groups: []ha.Group{group("files", func(g *ha.Group) {
			g.PeerSkew = skew(100)
			g.Storage = ha.Storage{Alone: alone, FenceAfter: ha.DefaultFenceAfter, Resources: []ha.Resource{{Name: "r0"}}, Mounts: []ha.Mount{{Device: "/dev/drbd0", Dir: "/srv"}}}
		})}}
	if fence != nil {
		s.Fences, s.Groups[0].Storage.Fence = []ha.Fence{*fence}, fence.Name
	}
	if edit != nil {
		edit(&s)
	}
	return s
}

var (
	pdu   = ha.Fence{Name: "pdu", Kind: ha.FenceExec, Agent: "/usr/sbin/fence_apc_snmp"}
	board = ha.Fence{Name: "board", Kind: ha.FenceExec, Agent: "/usr/sbin/fence_ipmilan"}
	host  = ha.Fence{Name: "host", Kind: ha.FenceKVMCTL, VM: "b"}
	human = ha.Fence{Name: "human", Kind: ha.FenceManual}
)

// Each sentence on who goes on and who waits is held against what package right says of a situation that is written here from nothing.
func TestEachSentenceOfStorageIsWhatIsDecided(t *testing.T) {
	death := regexp.MustCompile(`^When (\w+) or its host dies, (\w+) (goes on|waits)`)
	silent := regexp.MustCompile(`^When (witness|a fence) .*, a (goes on|waits).*, and b (goes on|waits)`)
	cable := regexp.MustCompile(`^When only DRBD's cable is cut, who is active goes on \(a (goes on|waits).*; b (goes on|waits)`)
	equal := func(node, other, alone string) right.Situation {
		by, err := right.ParseAlone(alone, "a", "b")
		if err != nil {
			t.Fatal(err)
		}
		rec := right.Record{Group: "files", State: right.Paired, N: 6}
		return right.Situation{Node: node, Peer: other, Group: "files", Alone: by, Agreed: true, Disk: right.UpToDate, Own: rec, Last: rec, BothUpToDate: true, InFlight: arbiter.ID{3}}
	}
	other := map[string]string{"a": "b", "b": "a"}
	verb := map[bool]string{true: "goes on", false: "waits"}
	for _, tt := range []struct {
		alone string
		fence *ha.Fence
		// licences that come where all is well, by node
		licence map[string]right.Kind
	}{
		{"a", nil, nil},
		{"b", nil, nil},
		{"a", &pdu, map[string]right.Kind{"a": right.Fence, "b": right.Fence}},
		{"arbiter", nil, map[string]right.Kind{"a": right.Arbiter, "b": right.Arbiter}},
		{"fence", &pdu, map[string]right.Kind{"a": right.Fence, "b": right.Fence}},
		{"fence", &host, map[string]right.Kind{"a": right.Fence, "b": right.Fence}},
		{"fence", &human, map[string]right.Kind{"b": right.Fence}},
	} {
		name := "none"
		if tt.fence != nil {
			name = tt.fence.Name
		}
		t.Run(tt.alone+" "+name, func(t *testing.T) {
			decide := func(node string, active bool, licence right.Kind) string {
				s := equal(node, other[node], tt.alone)
				s.Licence = right.Licence{Kind: licence, Request: s.InFlight, N: s.Own.N + 1}
				if s.Active = active; active {
					return verb[right.MayStayAlone(s).May]
				}
				return verb[right.MayPromote(s).May]
			}
			held := map[string]int{}
			for _, s := range Explain(stored(tt.alone, tt.fence, nil), Facts{}) {
				if m := death.FindStringSubmatch(s.Text); m != nil {
					held["death of "+m[1]]++
					for _, active := range []bool{true, false} {
						if want := decide(m[2], active, tt.licence[m[2]]); m[3] != want || m[2] != other[m[1]] {
							t.Errorf("active %v: decided is that it %s:\n%s", active, want, s.Text)
						}
					}
				}
				if m := silent.FindStringSubmatch(s.Text); m != nil {
					held["silence"]++
					if a, b := decide("a", true, ""), decide("b", true, ""); m[2] != a || m[3] != b {
						t.Errorf("decided is: a %s, b %s:\n%s", a, b, s.Text)
					}
				}
				if m := cable.FindStringSubmatch(s.Text); m != nil { // the standby is heard, and lets go
					held["cable"]++
					if a, b := decide("a", true, right.LetGo), decide("b", true, right.LetGo); m[1] != a || m[2] != b {
						t.Errorf("decided is: a %s, b %s:\n%s", a, b, s.Text)
					}
				}
				if strings.HasPrefix(s.Text, "In a full partition") {
					held["partition"]++
					for _, node := range []string{"a", "b"} {
						if want := decide(node, true, tt.licence[node]); !strings.Contains(s.Text, node+" "+want) {
							t.Errorf("decided is that %s %s:\n%s", node, want, s.Text)
						}
					}
					if strings.Contains(s.Text, "nothing in this file could decide") {
						t.Errorf("that is how addresses alone fare:\n%s", s.Text)
					}
				}
				if (strings.Contains(s.Text, "waits") && death.MatchString(s.Text)) != (s.Kind == Limit && death.MatchString(s.Text)) {
					t.Errorf("a %v: %s", s.Kind, s.Text)
				}
			}
			want := map[string]int{"death of a": 1, "death of b": 1, "cable": 1, "partition": 1}
			if tt.alone == "arbiter" || tt.alone == "fence" {
				want["silence"] = 1
			}
			if fmt.Sprint(held) != fmt.Sprint(want) {
				t.Errorf("held were %v", held)
			}
		})
	}
}

// What cannot answer when it is needed, or is never asked, is a warning.
func TestFencesAndArbitersInTheWrongPlace(t *testing.T) {
	at := func(s ...string) (out []netip.Addr) {
		for _, one := range s {
			out = append(out, netip.MustParseAddr(one))
		}
		return out
	}
	arbiterAt := func(where string) func(*ha.Spec) {
		return func(s *ha.Spec) { s.Peers[1].Addresses[0] = netip.MustParseAddrPort(where) }
	}
	etcd := func(endpoints ...string) func(*ha.Spec) {
		return func(s *ha.Spec) { s.Peers, s.Etcd.Endpoints = s.Peers[:1], endpoints }
	}
	guest := ha.Fence{Name: "g", Kind: ha.FenceKVMCTL, VM: "witness"}
	for _, tt := range []struct {
		name string
		spec ha.Spec
		own  []netip.Addr
		want string // in the only warning of the group; "": there is none
	}{
		{"a PDU", stored("fence", &pdu, nil), nil, ""},
		{"on the board", stored("fence", &board, nil), nil, "fence board (fence_ipmilan) is a part of the machine that it ends"},
		{"a person", stored("fence", &human, nil), nil, "nobody goes on here until one types kvmha confirm-dead files b"},
		{"a person, who is not needed", stored("a", &human, nil), nil, ""},
		{"never asked", stored("a", &pdu, nil), nil, `fence pdu is never asked: with alone = "a"`},
		{"never asked beside an arbiter", stored("arbiter", &pdu, nil), nil, `fence pdu is never asked: with alone = "arbiter"`},
		{"an arbiter elsewhere", stored("arbiter", nil, nil), at("10.2.0.1"), ""},
		{"an arbiter here", stored("arbiter", nil, nil), at("10.2.0.1", "10.2.0.3"), "the arbiter witness is on a (10.2.0.3)"},
		{"an arbiter there", stored("arbiter", nil, arbiterAt("10.9.0.2:4695")), nil, "the arbiter witness is on b (10.9.0.2)"},
		{"an arbiter there, in another form", stored("arbiter", nil, arbiterAt("[::ffff:10.9.0.2]:4695")), nil, "the arbiter witness is on b (10.9.0.2)"},
		{"an arbiter that is a guest here", stored("arbiter", nil, func(s *ha.Spec) { s.Fences = []ha.Fence{guest} }), nil, "the arbiter witness is a guest of this node"},
		{"an arbiter there that nobody asks", stored("a", nil, arbiterAt("10.9.0.2:4695")), nil, ""},
		{"an etcd elsewhere", stored("arbiter", nil, etcd("https://10.2.0.21:2379", "https://10.2.0.22:2379", "https://127.0.0.1:2379")), nil, ""},
		{"an etcd on the pair", stored("arbiter", nil, etcd("https://etcd:2379", "https://10.2.0.2:2379", "https://localhost:2379")), nil, "10.2.0.2:2379 and localhost:2379 of the etcd's 3 endpoints are on a or b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range Explain(tt.spec, Facts{Own: tt.own}) {
				if s.Kind == Warning && s.Group != "" {
					got = append(got, s.Text)
					if s.Fix == "" {
						t.Errorf("nothing better is said: %s", s.Text)
					}
				}
			}
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// An arbiter that storage asks is not called one that nobody asks.
func TestAnArbiterThatIsAsked(t *testing.T) {
	for alone, want := range map[string]bool{"a": true, "arbiter": false} {
		if got := slices.ContainsFunc(Explain(stored(alone, nil, nil), Facts{}), func(s Sentence) bool { return strings.Contains(s.Text, "No group of this file asks it") }); got != want {
			t.Errorf("alone = %q: %v", alone, got)
		}
	}
}
