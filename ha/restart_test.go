package ha

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/check"
	"kvmctl/ha/confsync"
	"kvmctl/ha/peer"
)

// running is an agent on a model node that can be replaced in place.
type running struct {
	t       *testing.T
	node    *modelNode
	notes   *notes
	agent   *Agent
	restart chan os.Signal
	cancel  context.CancelFunc
	ended   chan error
}

func begin(t *testing.T, n *modelNode, groups []Group, h *Handover) *running {
	t.Helper()
	r := &running{t: t, node: n, notes: &notes{}, restart: make(chan os.Signal, 1), ended: make(chan error, 1)}
	r.agent = New(Options{Spec: Spec{Node: "n", Groups: groups}, Clock: n, Network: n, Journal: r.notes, Restart: r.restart, BootID: "b", Resume: h})
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() { r.ended <- r.agent.Run(ctx) }()
	return r
}

// replace has another agent take over, with this file.
func (r *running) replace(groups ...Group) *running {
	r.t.Helper()
	r.restart <- syscall.SIGUSR2
	if err := <-r.ended; !errors.Is(err, ErrReplaced) {
		r.t.Fatalf("it ended with %v", err)
	}
	r.cancel()
	b, err := r.agent.Handover().encode()
	if err != nil {
		r.t.Fatal(err)
	}
	h, err := decodeHandover(b, "b", r.node.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return begin(r.t, r.node, groups, h)
}

func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
}

// What a reload does, a restart in place does: issue 4, "upgrade in place".
func TestARestartFollowsTheFileOfNow(t *testing.T) {
	other := netip.MustParseAddr("10.77.0.241")
	anew := []string{"demoting by blocked", "waiting by blocked", "standby by fit", "promoting by elected", "active by promoted"}
	for _, c := range []struct {
		name   string
		change func(*Group)
		roles  []string
		held   []netip.Addr
	}{
		{"as it was", func(*Group) {}, nil, []netip.Addr{shared}},
		{"an address more", func(g *Group) { g.Addresses = []netip.Addr{shared, other} }, anew, []netip.Addr{shared, other}},
		{"another address", func(g *Group) { g.Addresses = []netip.Addr{other} }, anew, []netip.Addr{other}},
		{"another vhid", func(g *Group) { g.VHID++ }, anew, []netip.Addr{shared}},
		{"another password", func(g *Group) { g.Password = NewSecret("new") }, anew, []netip.Addr{shared}},
		{"another unit", func(g *Group) { g.Units = nil }, anew, []netip.Addr{shared}},
		{"renamed", func(g *Group) { g.Name = "www" }, anew, []netip.Addr{shared}},
		{"renamed, with another virtual router", func(g *Group) { g.Name, g.VHID, g.Units = "www", 43, nil }, anew, []netip.Addr{shared}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runs := filepath.Join(t.TempDir(), "runs")
				w := &wire{}
				n := w.add(1)
				g := testGroup(0)
				u := DefaultUnit(UnitCommand, "daemon")
				u.Start, u.Stop = []string{"touch", runs}, []string{"rm", runs}
				g.Units = []Unit{u}
				a := begin(t, n, []Group{g}, nil)
				time.Sleep(5 * time.Second)
				want(t, "at first", a.notes.take(), "standby by fit", "promoting by elected", "active by promoted")
				c.change(&g)
				b := a.replace(g)
				time.Sleep(10 * time.Second)
				want(t, "after the restart", b.notes.take(), c.roles...)
				for _, addr := range []netip.Addr{shared, other} {
					asked := false
					for _, h := range c.held {
						asked = asked || h == addr
					}
					if got := len(w.holders(addr)) == 1; got != asked {
						t.Errorf("address %s: held %v, the file wants %v", addr, got, asked)
					}
				}
				if _, err := os.Stat(runs); (err == nil) != (len(g.Units) == 1) {
					t.Errorf("the unit: %v", err)
				}
				b.stop()
			})
		})
	}
}

// Maintenance is a person's wish: an edit of the file does not end it.
func TestMaintenanceOutlivesAChangedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := (&wire{}).add(1)
		g := testGroup(0)
		a := begin(t, n, []Group{g}, nil)
		time.Sleep(5 * time.Second)
		if r := a.agent.ask(t.Context(), Request{Verb: VerbMaintenance, On: true}); r.Error != "" {
			t.Fatal(r)
		}
		time.Sleep(time.Second)
		g.DeadRatio = 5
		b := a.replace(g)
		time.Sleep(10 * time.Second)
		want(t, "after the restart", b.notes.take(), "waiting by blocked", "waiting by blocked") // the one that ends, and the one that begins
		b.stop()
	})
}

func TestARestartWithoutAGroupLetsGoOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := filepath.Join(t.TempDir(), "runs")
		w := &wire{}
		g, second := testGroup(0), testGroup(0)
		u := DefaultUnit(UnitCommand, "daemon")
		u.Start, u.Stop = []string{"touch", runs}, []string{"rm", runs}
		g.Units = []Unit{u}
		second.Name, second.VHID, second.Addresses = "dns", 43, []netip.Addr{netip.MustParseAddr("10.77.0.241")}
		a := begin(t, w.add(1), []Group{g, second}, nil)
		time.Sleep(5 * time.Second)
		b := a.replace(second)
		time.Sleep(5 * time.Second)
		want(t, "after the restart", b.notes.take(), "demoting by blocked", "waiting by blocked")
		if got := w.holders(shared); len(got) != 0 {
			t.Errorf("its address is held by %v", got)
		}
		if _, err := os.Stat(runs); err == nil {
			t.Error("its unit still runs")
		}
		b.stop()
	})
}

// Every field of a group comes through an exec, the password too: one that did not would count as changed.
func TestAGroupComesThroughAnExec(t *testing.T) {
	skew := 3
	g := DefaultGroup("web")
	g.Description, g.Interface, g.VHID, g.Password, g.Skew, g.PeerSkew = "d", "eth0", 42, NewSecret("tpri"), 1, &skew
	g.Addresses = []netip.Addr{shared, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:10.0.0.1")}
	g.Unicast, g.Preempt, g.VirtualMAC, g.IgnoreCarrier = []netip.Addr{shared}, true, true, true
	g.Hooks = Hooks{[]string{"a", "b"}, []string{}, []string{"c"}, time.Second}
	g.Units = []Unit{{UnitUCARP, "n", []string{"a"}, []string{"b"}, []string{"c"}, "x", "/p", time.Second, time.Minute}}
	g.Checks = []Check{
		{Type: CheckTCP, Name: "n", Unit: "u", PIDFile: "p", Process: "q", Target: "t", Send: "s", Expect: "e", Command: []string{"c"}, ActiveOnly: true,
			Interval: time.Second, Timeout: time.Minute, Fall: 2, Rise: 3},
		{Type: CheckLDAP, LDAP: check.LDAP{Address: "a", TLS: "t", CAFile: "c", ServerName: "s", BindDN: "b", Password: NewSecret("of ldap"), Base: "d", Filter: "f", Count: 1}},
		{Type: CheckDNS, DNS: check.DNS{Address: "a", Name: "n", Type: "t", RCode: "r", Answer: "w", TCP: true, SerialOf: "s"}},
		{Type: CheckHTTP, HTTP: check.HTTP{Address: "a", TLS: "t", CAFile: "c", ServerName: "s", Host: "h", Path: "p", Status: 200, Contains: "w", Expires: time.Hour}},
		{Type: CheckSMTP, SMTP: check.SMTP{Address: "a", TLS: "t", CAFile: "c", ServerName: "s", Helo: "h", Expect: "e", Expires: time.Hour}},
		{Type: CheckSMB, SMB: check.SMB{Address: "a", Session: "s", User: "u", Password: NewSecret("of smb"), Share: "h", Hidden: true, File: "f", RefuseAnonymous: true}},
		{Type: CheckDisk, Disk: check.Disk{Path: "p", Mounted: true, ReadOnly: true, MinFree: "f", MinInodes: "i"}},
		{Type: CheckDHCP, DHCP: check.DHCP{Address: "a", Interface: "i", Discover: true, MAC: "m", ServerID: "s", Options: []string{"o"}}},
		{Type: CheckARP, ARP: check.ARP{Interface: "i", Address: "a", MAC: "m"}},
		{Type: CheckSID, SID: check.SID{Peer: "p", DomainOnly: true}},
		{Type: CheckPFSync, PFSync: check.PFSync{Interface: "i"}},
	}
	everyField(t, g.Checks)
	for i := range reflect.TypeFor[Group]().NumField() {
		if reflect.ValueOf(g).Field(i).IsZero() {
			t.Errorf("field %s has no value here", reflect.TypeFor[Group]().Field(i).Name)
		}
	}
	h := &Handover{Version: handoverVersion, BootID: "b", Made: time.Second, Groups: []groupHandover{{Spec: saved(g)}}}
	b, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeHandover(b, "b", sinceBoot(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if back := got.Groups[0].Spec.spec(); !reflect.DeepEqual(back, g) {
		t.Errorf("%+v, want %+v", back, g)
	}
}

// everyField holds the list against the type: a field that has a value in none of the checks could be lost unseen.
func everyField(t *testing.T, checks []Check) {
	t.Helper()
	var walk func(path string, values []reflect.Value)
	walk = func(path string, values []reflect.Value) {
		for i := range values[0].Type().NumField() {
			f := values[0].Type().Field(i)
			var fields []reflect.Value
			set := false
			for _, v := range values {
				fields = append(fields, v.Field(i))
				set = set || !v.Field(i).IsZero()
			}
			if !set {
				t.Errorf("field %s.%s has no value here", path, f.Name)
			}
			if f.Type.Kind() == reflect.Struct {
				walk(path+"."+f.Name, fields)
			}
		}
	}
	var all []reflect.Value
	for _, c := range checks {
		all = append(all, reflect.ValueOf(c))
	}
	walk("Check", all)
}

// So does what is not a group's: a program that cannot read the file goes on with it, and reaches people as before.
func TestASpecComesThroughAnExec(t *testing.T) {
	s := Spec{
		File: "/etc/kvmha.toml", Node: "n", Groups: []Group{testGroup(0)}, Mail: Mail{"r:25", MailStartTLS, "u", NewSecret("p"), "f", []string{"t"}, time.Second},
		Webhook: Webhook{"https://x", NewSecret("w"), time.Second}, Command: Command{[]string{"c"}, time.Second}, Log: Log{LogFile, "/l"}, Language: French,
		Channel: Channel{[]string{":1"}},
		Syncs:   []confsync.Job{{Name: "z", Group: "g", Paths: []string{"/z/"}, Exclude: []string{"x"}, Validate: []string{"v"}, Reload: []string{"r"}, MaxDelete: 1, Keep: 1, Every: 1, At: confsync.TimeOfDay{Set: true, Hour: 1, Minute: 1}, OnChange: true}},
		Peers:   []peer.Node{{Name: "o", Addresses: []netip.AddrPort{netip.AddrPortFrom(shared, 1)}, Role: peer.Arbiter}},
		Arbiter: []arbiter.Group{{Name: "mail", Members: []string{"a", "b"}}},
		Fences:  []Fence{{Name: "f", Kind: FenceExec, VM: "v", Agent: "/a", Parameters: []string{"x=1"}, Password: NewSecret("q"), Timeout: 1}},
		Etcd:    arbiter.EtcdAt{Endpoints: []string{"https://e:1"}, Prefix: "/p/", CAFile: "/ca", CertFile: "/cert", KeyFile: "/key"},
	}
	for i := range reflect.TypeFor[Spec]().NumField() {
		if reflect.ValueOf(s).Field(i).IsZero() {
			t.Errorf("field %s has no value here", reflect.TypeFor[Spec]().Field(i).Name)
		}
	}
	h := &Handover{Version: handoverVersion, BootID: "b", Made: time.Second, Node: savedSpecOf(s), Groups: []groupHandover{{Spec: saved(s.Groups[0])}}}
	b, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeHandover(b, "b", sinceBoot(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if back := got.Spec(); !reflect.DeepEqual(back, s) {
		t.Errorf("%+v, want %+v", back, s)
	}
}

// A standby that restarts in the very seconds in which its master dies takes over when it would have anyway.
func TestARestartOfAStandbyLengthensNoOutage(t *testing.T) {
	takes := func(t *testing.T, restart bool) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			w := &wire{}
			m, n := w.add(1), w.add(2)
			first := begin(t, m, []Group{testGroup(0)}, nil)
			time.Sleep(5 * time.Second)
			second := begin(t, n, []Group{testGroup(100)}, nil)
			time.Sleep(10 * time.Second)
			first.restart <- syscall.SIGUSR2 // it falls silent: nobody takes it over
			if err := <-first.ended; !errors.Is(err, ErrReplaced) {
				t.Fatal(err)
			}
			first.cancel()
			died := time.Now()
			time.Sleep(2 * time.Second)
			if restart {
				second = second.replace(testGroup(100))
			}
			for second.agent.ask(t.Context(), Request{Verb: VerbStatus}).Status.Groups[0].Role != "active" {
				if took = time.Since(died); took > 20*time.Second {
					t.Fatal("it never takes over")
				}
				time.Sleep(10 * time.Millisecond)
			}
			second.stop()
		})
		return took
	}
	alone, restarted := takes(t, false), takes(t, true)
	t.Logf("%s, with a restart %s", alone, restarted)
	if restarted > alone+20*time.Millisecond {
		t.Errorf("it takes %s, and %s without a restart", restarted, alone)
	}
}
