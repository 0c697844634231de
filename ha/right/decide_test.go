package right

import (
	"errors"
	"strings"
	"testing"

	"kvmctl/ha/arbiter"
)

var request = arbiter.ID{7}

// ready is varda2, the standby of vm-varda that was its equal until it was lost.
func ready() Situation {
	r := Record{Group: "samba", State: Paired, N: 4}
	return Situation{
		Node: "varda2", Peer: "vm-varda", Group: "samba", Alone: AloneBy{Who: ByFence}, Agreed: true,
		Own: r, Last: r, Disk: UpToDate, BothUpToDate: true, InFlight: request,
	}
}

func TestMayPromote(t *testing.T) {
	by := func(k Kind) func(*Situation) { return func(s *Situation) { s.Licence = Licence{k, request, 5} } }
	all := func(changes ...func(*Situation)) func(*Situation) {
		return func(s *Situation) {
			for _, c := range changes {
				c(s)
			}
		}
	}
	alone := func(text string) func(*Situation) {
		return func(s *Situation) {
			var err error
			if s.Alone, err = ParseAlone(text, "varda2", "vm-varda"); err != nil {
				t.Fatal(err)
			}
		}
	}
	booted := func(s *Situation) { s.BothUpToDate, s.Last, s.InFlight = false, Record{}, arbiter.ID{} }
	own := func(st State, n uint64) func(*Situation) { return func(s *Situation) { s.Own.State, s.Own.N = st, n } }
	heard := func(st State, n uint64) func(*Situation) {
		return func(s *Situation) { s.Heard = &Record{Group: "samba", State: st, N: n} }
	}
	host := func(st State, n uint64) func(*Situation) {
		return func(s *Situation) { s.Host = &Record{Group: "samba", State: st, N: n} }
	}
	for _, tc := range []struct {
		name   string
		change func(*Situation)
		want   string // may, by …  or the reason
		ask    string
		stay   string // what MayStayAlone says where it differs
	}{
		{"a fence that answered", by(Fence), "may, by fence, once alone 5 is on the disk", "", ""},
		{"no fence has answered", func(*Situation) {}, "ask", "let-go fence", ""},
		{"a fence answered an earlier request", func(s *Situation) { s.Licence = Licence{Fence, arbiter.ID{6}, 5} }, "ask", "let-go fence", ""},
		{"a fence answered, and no request is in flight", all(by(Fence), func(s *Situation) { s.InFlight = arbiter.ID{} }), "ask", "let-go fence", ""},
		{"an answer to nothing", func(s *Situation) { s.Licence, s.InFlight = Licence{Fence, arbiter.ID{}, 5}, arbiter.ID{} }, "ask", "let-go fence", ""},
		{"a fence answered for an earlier number", func(s *Situation) { s.Licence = Licence{Fence, request, 4} }, "ask", "let-go fence", ""},
		{"a fence beside an arbiter", all(alone("arbiter"), by(Fence)), "ask", "let-go arbiter", ""},
		{"the arbiter's record is won", all(alone("arbiter"), by(Arbiter)), "may, by arbiter, once alone 5 is on the disk", "", ""},
		{"the arbiter, where a fence is the key", by(Arbiter), "ask", "let-go fence", ""},
		{"the named one", alone("varda2"), "may, by named, once alone 5 is on the disk", "", ""},
		{"the other one", alone("vm-varda"), "ask", "let-go", ""},
		{"the other one, with a fence", all(alone("vm-varda"), by(Fence)), "ask", "let-go", ""},
		{"the other one, with an arbiter", all(alone("vm-varda"), by(Arbiter)), "ask", "let-go", ""},
		{"the other one, with a let-go", all(alone("vm-varda"), by(LetGo)), "may, by let-go, once alone 5 is on the disk", "", ""},
		{"a let-go of which the record was heard", all(alone("vm-varda"), by(LetGo), func(s *Situation) { s.Last.N = 5 }), "may, by let-go, once alone 5 is on the disk", "", ""},
		{"the peer's record has another number", func(s *Situation) { s.Last.N = 5 }, "not-ready", "", ""},
		{"a let-go to one that was never connected", all(booted, by(LetGo)), "not-ready", "", ""},
		{"it booted, paired", booted, "not-ready", "", ""},
		{"it booted, paired, and is the named one", all(alone("varda2"), booted), "not-ready", "", ""},
		{"it booted, paired, and a fence answered", all(booted, by(Fence)), "not-ready", "", ""},
		{"it booted, never written", all(booted, own(Unwritten, 0), alone("varda2")), "not-ready", "", ""},
		{"it booted, alone", all(booted, own(Alone, 5)), "may, by own record", "", ""},
		{"it booted, alone, without alone = in the file", all(booted, own(Alone, 5), func(s *Situation) { s.Alone = AloneBy{} }), "may, by own record", "", ""},
		{"it booted, alone, from an old image", all(booted, own(Alone, 5), host(Alone, 6)), "reverted", "", ""},
		{"it booted, alone, from an image before it was paired", all(booted, own(Alone, 5), host(Paired, 5)), "reverted", "", ""},
		{"its host's copy lags behind", all(booted, own(Alone, 5), host(Paired, 4)), "may, by own record", "", ""},
		{"its peer was not its equal yet", func(s *Situation) { s.Last.State = Alone }, "not-ready", "", ""},
		{"its peer was behind, and a fence answered", all(by(Fence), func(s *Situation) { s.BothUpToDate, s.PeerBehind = false, true }), "may, by fence, once alone 5 is on the disk", "", ""},
		{"the files differ", all(alone("varda2"), func(s *Situation) { s.Agreed = false }), "disagreed", "", ""},
		{"no alone = in the file", all(by(Fence), func(s *Situation) { s.Alone = AloneBy{} }), "no-key", "", ""},
		{"a person's word", all(booted, func(s *Situation) { s.InFlight = request }, by(Person)), "may, by confirm-dead, once alone 5 is on the disk", "", ""},
		{"a person's word about an old image", all(by(Person), host(Alone, 9)), "may, by confirm-dead, once alone 10 is on the disk", "", ""},
		{"a person's word about one that is heard", all(by(Person), heard(Paired, 4)), "ask", "let-go fence", ""},
		{"a person's word about a disk that is not UpToDate", all(by(Person), func(s *Situation) { s.Disk = Worse }), "disk", "", ""},
		{"alone, on a disk that is not UpToDate", all(own(Alone, 5), func(s *Situation) { s.Disk = Worse }), "disk", "", ""},
		{"the peer is heard, and went on alone", all(by(Fence), heard(Alone, 5)), "peer-ahead", "", ""},
		{"both went on alone", all(own(Alone, 5), heard(Alone, 5)), "split-brain", "", ""},
		{"the peer is heard, and active", all(by(Fence), heard(Paired, 4), func(s *Situation) { s.PeerActive = true }), "peer-active", "", "may, by fence, once alone 5 is on the disk"},
		{"connected", all(booted, func(s *Situation) { s.Connected = true }), "may, by connected", "", "not-ready"},
		{"connected, on a disk that is not UpToDate", func(s *Situation) { s.Connected, s.Disk = true, Worse }, "disk", "", ""},
		{"connected, and both went on alone", all(own(Alone, 5), heard(Alone, 5), func(s *Situation) { s.Connected = true }), "split-brain", "", ""},
		{"the record is damaged", all(by(Person), func(s *Situation) { s.Damaged = errors.New("no") }), "damaged", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := ready()
			tc.change(&s)
			verdict(t, "promote", MayPromote(s), tc.want, tc.ask)
			if tc.stay == "" {
				tc.stay = tc.want
			}
			verdict(t, "stay", MayStayAlone(s), tc.stay, tc.ask)
		})
	}
}

func verdict(t *testing.T, what string, v Verdict, want, ask string) {
	t.Helper()
	got := string(v.Reason)
	if v.May {
		got = v.String()
	}
	if got != want {
		t.Errorf("%s: %v, want %s", what, v, want)
	}
	var asks []string
	for _, k := range v.Ask {
		asks = append(asks, string(k))
	}
	if got := strings.Join(asks, " "); got != ask {
		t.Errorf("%s: asks %q, want %q", what, got, ask)
	}
	if len(v.Ask) > 0 && v.N != 5 {
		t.Errorf("%s: asks for %d", what, v.N)
	}
	if !v.May && v.Why == "" {
		t.Errorf("%s: does not say why", what)
	}
}

func TestMayYield(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Situation)
		n      uint64
		want   string
	}{
		{"a standby", func(*Situation) {}, 5, "may, by let-go, once paired (5) is on the disk"},
		{"asked again", func(s *Situation) { s.Own.N = 5 }, 5, "may, by let-go"},
		{"never written", func(s *Situation) { s.Own = Record{Group: "samba"}; s.Heard.N = 0 }, 1, "may, by let-go, once paired (1) is on the disk"},
		{"ahead of who asks", func(s *Situation) { s.Own.N = 7 }, 5, "may, by let-go"},
		{"active", func(s *Situation) { s.Active = true }, 5, "active"},
		{"asking itself", func(s *Situation) { s.InFlight = request }, 5, "asking"},
		{"alone", func(s *Situation) { s.Own.State = Alone }, 5, "alone"},
		{"damaged", func(s *Situation) { s.Damaged = errors.New("no") }, 5, "damaged"},
		{"the peer has let go since it asked", func(s *Situation) { s.Heard.N = 5 }, 5, "late"},
		{"the peer went on since it asked", func(s *Situation) { s.Heard.State, s.Heard.N = Alone, 5 }, 5, "late"},
		{"the peer is not heard", func(s *Situation) { s.Heard = nil }, 5, "late"},
		{"a number that is far ahead", func(*Situation) {}, 6, "late"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := ready()
			s.InFlight, s.Heard = arbiter.ID{}, &Record{Group: "samba", State: Paired, N: 4}
			tc.change(&s)
			verdict(t, "let go", MayYield(s, tc.n), tc.want, "")
		})
	}
}

func TestMayBeTarget(t *testing.T) {
	for _, tc := range []struct {
		name    string
		own     Record
		heard   uint64
		discard bool
		active  bool
		want    string
	}{
		{"paired at a lower number", Record{State: Paired, N: 4}, 5, false, false, "may, by connected, once paired (5) is on the disk"},
		{"paired at the same number", Record{State: Paired, N: 5}, 5, false, false, "may, by connected"},
		{"never written", Record{}, 0, false, false, "may, by connected, once paired (0) is on the disk"},
		{"alone", Record{State: Alone, N: 5}, 4, false, false, "alone"},
		{"alone, and a person chose the other one's data", Record{State: Alone, N: 5}, 5, true, false, "may, by connected, once paired (5) is on the disk"},
		{"active", Record{State: Paired, N: 4}, 5, true, true, "active"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := ready()
			s.Own, s.Active, s.Heard = tc.own, tc.active, &Record{State: Alone, N: tc.heard}
			verdict(t, "target", MayBeTarget(s, tc.discard), tc.want, "")
		})
	}
}

func TestMeet(t *testing.T) {
	for _, tc := range []struct {
		name      string
		own, said Record
		change    func(*Session)
		want      string
	}{
		{"new", Record{}, Record{}, nil, "writes paired (0)"},
		{"new, and the peer has written", Record{}, Record{State: Paired}, nil, "writes paired (0)"},
		{"the peer has not written", Record{State: Paired}, Record{}, nil, "-"},
		{"equals", Record{State: Paired, N: 3}, Record{State: Paired, N: 3}, nil, "equal"},
		{"the peer's number is higher", Record{State: Paired, N: 3}, Record{State: Paired, N: 4}, nil, "writes paired (4)"},
		{"the peer's number is lower", Record{State: Paired, N: 4}, Record{State: Paired, N: 3}, nil, "-"},
		{"the arbiter's number is higher", Record{State: Paired, N: 3}, Record{State: Paired, N: 3}, func(s *Session) { s.Arbiter = 4 }, "writes paired (4)"},
		{"the source, while its target is behind", Record{State: Alone, N: 3}, Record{State: Paired, N: 3}, func(s *Session) { s.PeerDisk = Worse }, "-"},
		{"the source, when its target has all", Record{State: Alone, N: 3}, Record{State: Paired, N: 3}, nil, "writes paired (3)"},
		{"the source, of a peer that has said nothing", Record{State: Alone, N: 3}, Record{}, nil, "-"},
		{"the target, before its source has written", Record{State: Paired, N: 3}, Record{State: Alone, N: 3}, nil, "-"},
		{"the target, behind", Record{State: Paired, N: 2}, Record{State: Paired, N: 3}, func(s *Session) { s.Disk = Worse }, "-"},
		{"both alone", Record{State: Alone, N: 3}, Record{State: Alone, N: 4}, nil, "split writes paired (4)"},
		{"both alone, active", Record{State: Alone, N: 3}, Record{State: Alone, N: 4}, func(s *Session) { s.Active = true }, "split"},
		{"both alone, and behind", Record{State: Alone, N: 3}, Record{State: Alone, N: 3}, func(s *Session) { s.Disk = Worse }, "split writes paired (3)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Session{Peer: "vm-varda", Own: tc.own, Said: tc.said, Disk: UpToDate, PeerDisk: UpToDate}
			if tc.change != nil {
				tc.change(&s)
			}
			m := Meet(s)
			var got []string
			if m.Split {
				got = append(got, "split")
			}
			if m.Write != nil {
				got = append(got, "writes "+m.Write.String())
			}
			if m.Equal {
				got = append(got, "equal")
			}
			if got := strings.Join(got, " "); got != tc.want && (got != "" || tc.want != "-") {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestParseAlone(t *testing.T) {
	for _, text := range []string{"arbiter", "fence", "a", "b"} {
		if got, err := ParseAlone(text, "a", "b"); err != nil || got.String() != text {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "c", "name", "Arbiter"} {
		if got, err := ParseAlone(text, "a", "b", ""); !errors.Is(err, ErrNoNode) || got != (AloneBy{}) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
