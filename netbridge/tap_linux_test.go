package netbridge_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

// patience bounds every wait for a fact.
const patience = 20 * time.Second

var (
	brMAC     = units.MAC{0x52, 0x54, 0, 0xbb, 0, 1}
	olorinMAC = units.MAC{0x52, 0x54, 0, 0xcc, 0, 1}
	vardaMAC  = units.MAC{0x52, 0x54, 0, 0xcc, 0, 2}
)

func olorin(queues int) netbridge.TAP {
	return netbridge.TAP{Name: "kv1.0", Alias: "kvmctl:vm-olorin:0", Bridge: "br0", Queues: queues, MAC: olorinMAC}
}

// withBridge is a namespace with a bridge br0 of ours.
func withBridge(t testing.TB, mtu int) *world {
	t.Helper()
	w := newWorld(t)
	if _, err := netbridge.Ensure(t.Context(), w, []netbridge.Bridge{{Name: "br0", MAC: brMAC, MTU: mtu}}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) open(t testing.TB, tap netbridge.TAP) []*os.File {
	t.Helper()
	files, err := w.OpenTAP(t.Context(), tap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	return files
}

func (w *world) names(t testing.TB) string {
	t.Helper()
	links, err := w.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	return strings.Join(names, " ")
}

func (w *world) get(t testing.TB, name string) netbridge.Link {
	t.Helper()
	links, err := w.Links(t.Context(), name)
	if err != nil || len(links) != 1 {
		t.Fatalf("look up %s: %d found, error %v", name, len(links), err)
	}
	return links[0]
}

// eventually waits for a fact.
func eventually(t testing.TB, what string, fact func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !fact(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func TestATAPIsAPortThatIsMarkedAndUp(t *testing.T) {
	for _, queues := range []int{1, 2} {
		t.Run(fmt.Sprint(queues, " queues"), func(t *testing.T) {
			w := withBridge(t, 9000)
			files := w.open(t, olorin(queues))
			if len(files) != queues {
				t.Fatalf("%d files, want %d", len(files), queues)
			}
			got := w.get(t, "kv1.0")
			want := netbridge.Link{
				Index: got.Index, Name: "kv1.0", Alias: "kvmctl:vm-olorin:0", Kind: "tun", MAC: got.MAC, MTU: 9000,
				Master: "br0", Up: true, Running: true, Locked: true,
			}
			if queues > 1 {
				want.Queues = queues
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("want (-), got (+): %s", diff)
			}
			if got.MAC[0] != 0xfe {
				t.Errorf("MAC %s does not begin with fe", got.MAC)
			}
			for i, f := range files {
				if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
					t.Errorf("queue %d is not close-on-exec (%v)", i, err)
				}
				req, err := unix.NewIfreq("")
				if err != nil {
					t.Fatal(err)
				}
				if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNGETIFF, req); err != nil {
					t.Fatal(err)
				}
				want := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
				if queues > 1 {
					want |= unix.IFF_MULTI_QUEUE
				}
				if req.Name() != "kv1.0" || req.Uint16() != want {
					t.Errorf("queue %d: interface %q, flags %#x, want kv1.0 with %#x", i, req.Name(), req.Uint16(), want)
				}
			}
		})
	}
}

func TestATAPVanishesWithItsLastFile(t *testing.T) {
	w := withBridge(t, 1500)
	files := w.open(t, olorin(2))
	files[0].Close()
	if got := w.get(t, "kv1.0").Queues; got != 1 {
		t.Errorf("%d queues after the first was closed, want 1", got)
	}
	files[1].Close()
	if got := w.names(t); got != "lo br0" {
		t.Errorf("interfaces %q, want lo and br0", got)
	}
	w.open(t, olorin(1)) // the name is free at once
}

func TestATAPVanishesWhenTheProcessThatHoldsItIsKilled(t *testing.T) {
	w := withBridge(t, 1500)
	files := w.open(t, olorin(2))
	holder := exec.CommandContext(t.Context(), "/proc/self/exe")
	holder.Env = append(os.Environ(), asEnv+"=holder")
	holder.ExtraFiles = files
	stdin, err := holder.StdinPipe() // kept open
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Errorf("the holder says %q, %v", line, err)
	}
	for _, f := range files {
		f.Close()
	}
	if got := w.get(t, "kv1.0"); got.Queues != 2 || got.Master != "br0" {
		t.Errorf("while another process holds it: %+v", got)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	holder.Wait()
	eventually(t, "the TAP is gone", func() bool { return w.names(t) == "lo br0" })
}

func TestANameInUseSaysWhoHasIt(t *testing.T) {
	w := withBridge(t, 1500)
	w.open(t, olorin(2))
	if err := w.Plant(netbridge.Link{Name: "kv2.0", Kind: "veth"}); err != nil {
		t.Fatal(err)
	}
	persistent := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "kv3.0"}, Mode: netlink.TUNTAP_MODE_TAP}
	if err := netlink.LinkAdd(persistent); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text, hint string
		queues           int
		ours             bool
	}{
		{"kv1.0", `interface "kv1.0" is in use by guest vm-olorin, nic 0`, "kvmctl status vm-olorin", 2, true},
		{"kv1.0", `interface "kv1.0" is in use by guest vm-olorin, nic 0`, "kvmctl status vm-olorin", 1, true},
		{"kv2.0", `interface "kv2.0" exists and is not kvmctl's: of kind "veth"`, "see what it is: ip -d link show kv2.0", 1, false},
		{"kv3.0", `interface "kv3.0" exists and is not kvmctl's: a TUN or TAP`, "see what it is: ip -d link show kv3.0", 1, false},
		{"lo", `interface "lo" exists and is not kvmctl's: a physical or built-in interface`, "see what it is: ip -d link show lo", 1, false},
		{"br0", `interface "br0" exists and is not kvmctl's: a bridge`, "see what it is: ip -d link show br0", 1, false},
	} {
		before := w.names(t)
		tap := olorin(tt.queues)
		tap.Name, tap.Alias = tt.name, "kvmctl:vm-varda:0"
		files, err := w.OpenTAP(t.Context(), tap)
		var use *netbridge.InUseError
		if !errors.As(err, &use) || files != nil {
			t.Errorf("%s: %d files and error %v, want an InUseError", tt.name, len(files), err)
			continue
		}
		if want := fmt.Sprintf("create tap %q: %s", tt.name, tt.text); err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		if use.Ours() != tt.ours || use.Hint() != tt.hint {
			t.Errorf("%s: ours %v, hint %q; want %v, %q", tt.name, use.Ours(), use.Hint(), tt.ours, tt.hint)
		}
		if after := w.names(t); after != before {
			t.Errorf("%s: interfaces %q, were %q", tt.name, after, before)
		}
	}
	if got := w.get(t, "kv1.0"); got.Queues != 2 || got.Alias != "kvmctl:vm-olorin:0" {
		t.Errorf("the TAP that was there: %+v", got)
	}
}

func TestABadTAPIsRefusedAndLeavesNothing(t *testing.T) {
	w := withBridge(t, 1500)
	if err := w.Plant(netbridge.Link{Name: "eth0", Kind: "veth"}); err != nil {
		t.Fatal(err)
	}
	before := w.names(t)
	for _, tt := range []struct {
		change func(*netbridge.TAP)
		want   string
	}{
		{func(p *netbridge.TAP) { p.Name = "sixteen-bytes-tp" },
			`create tap "sixteen-bytes-tp": bad interface name "sixteen-bytes-tp": 16 bytes, the kernel takes 15`},
		{func(p *netbridge.TAP) { p.Name = "" }, `create tap "": bad interface name "": empty`},
		{func(p *netbridge.TAP) { p.Name = "kv%d" }, `create tap "kv%d": bad interface name "kv%d": '%' may not stand in it`},
		{func(p *netbridge.TAP) { p.Alias = "" }, `create tap "kv1.0": bad alias "": want kvmctl:<vm>:<nic>`},
		{func(p *netbridge.TAP) { p.Queues = 0 }, `create tap "kv1.0": bad number of queues 0: want 1 to 256`},
		{func(p *netbridge.TAP) { p.Queues = 257 }, `create tap "kv1.0": bad number of queues 257: want 1 to 256`},
		{func(p *netbridge.TAP) { p.MTU = 65522 }, `create tap "kv1.0": bad MTU 65522: want 68 to 65521`},
		{func(p *netbridge.TAP) { p.Bridge = "br9" }, `create tap "kv1.0": bridge "br9": no such device`},
		{func(p *netbridge.TAP) { p.Bridge = "eth0" }, `create tap "kv1.0": interface "eth0" is of kind "veth", not a bridge`},
	} {
		tap := olorin(1)
		tt.change(&tap)
		files, err := w.OpenTAP(t.Context(), tap)
		if err == nil || err.Error() != tt.want || files != nil {
			t.Errorf("%d files and error %q, want none and %q", len(files), err, tt.want)
		}
	}
	if after := w.names(t); after != before {
		t.Errorf("interfaces %q, were %q", after, before)
	}
}

func TestATAPThatFailsHalfWayIsTakenBack(t *testing.T) {
	w := withBridge(t, 1500)
	for n := 0; ; n++ {
		files, err := w.OpenTAP(&countdown{context.Background(), n}, olorin(2))
		if err == nil {
			for _, f := range files {
				f.Close()
			}
			if n != 8 { // look up the bridge, configure, count the queues, join, flags, static entry, up, see that it is locked
				t.Errorf("OpenTAP sent %d messages, want 8", n)
			}
			return
		}
		if !errors.Is(err, context.Canceled) || files != nil {
			t.Fatalf("after %d messages: %d files, error %v", n, len(files), err)
		}
		if got := w.names(t); got != "lo br0" {
			t.Fatalf("after %d messages: interfaces %q, want lo and br0", n, got)
		}
	}
}

func TestMTUOfATAPFollowsTheBridgeOrTheCaller(t *testing.T) {
	for _, tt := range []struct{ bridge, tap, want int }{
		{1500, 0, 1500}, {9000, 0, 9000}, {576, 0, 576}, {9000, 1400, 1400}, {65521, 0, 65521}, {68, 0, 68},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			w := withBridge(t, tt.bridge)
			tap := olorin(1)
			tap.MTU = tt.tap
			w.open(t, tap)
			if got := w.get(t, "kv1.0").MTU; got != tt.want {
				t.Errorf("MTU of the TAP %d, want %d", got, tt.want)
			}
			if got := w.get(t, "br0").MTU; got != tt.bridge {
				t.Errorf("MTU of the bridge %d, want %d", got, tt.bridge)
			}
		})
	}
}

func TestBridgesKeepTheirMACWhenATAPJoins(t *testing.T) {
	w := withBridge(t, 1500)
	// The admin's bridge has no MAC of its own: it has its port's.
	if err := w.Plant(netbridge.Link{Name: "lan", Kind: "bridge"}); err != nil {
		t.Fatal(err)
	}
	nic := units.MAC{0xee, 0xff, 0xff, 0xff, 0xff, 0xff}
	if err := w.Plant(netbridge.Link{Name: "eth0", Kind: "veth", Master: "lan", MAC: nic, Up: true}); err != nil {
		t.Fatal(err)
	}
	if got := w.get(t, "lan").MAC; got != nic {
		t.Fatalf("the admin's bridge has MAC %s, want its port's", got)
	}
	for i, br := range []string{"br0", "lan"} {
		before := w.get(t, br).MAC
		tap := netbridge.TAP{Name: fmt.Sprintf("kv%d.0", i), Alias: netbridge.TAPAlias("vm", i), Bridge: br, Queues: 1, Spoof: true}
		files := w.open(t, tap)
		if got := w.get(t, br).MAC; got != before {
			t.Errorf("%s with a TAP has MAC %s, had %s", br, got, before)
		}
		files[0].Close()
		if got := w.get(t, br).MAC; got != before {
			t.Errorf("%s after the TAP has MAC %s, had %s", br, got, before)
		}
	}
}

// attach lets another user try to take a queue of the TAP.
func attach(t *testing.T, name string, uid uint32) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe") // by this link: the binary's directory is closed to others
	cmd.Env = append(os.Environ(), asEnv+"="+name)
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0) // open to all where udev made it, but not everywhere
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	cmd.ExtraFiles = []*os.File{tun}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestNoOtherUserCanTakeAQueue(t *testing.T) {
	w := withBridge(t, 1500)
	w.open(t, olorin(2))
	if got, want := attach(t, "kv1.0", 65534), "attach: operation not permitted"; got != want {
		t.Errorf("a stranger at a TAP of root's: %q, want %q", got, want)
	}
	owned := netbridge.TAP{Name: "kv2.0", Alias: "kvmctl:vm-varda:0", Bridge: "br0", Queues: 2, Owner: 60001, MAC: vardaMAC}
	w.open(t, owned)
	if got, want := attach(t, "kv2.0", 65534), "attach: operation not permitted"; got != want {
		t.Errorf("a stranger at a guest's TAP: %q, want %q", got, want)
	}
	if got, want := attach(t, "kv2.0", 60001), "attach: <nil>"; got != want {
		t.Errorf("its owner: %q, want %q", got, want)
	}
}

func TestOpenTAPOutsideTheNamespaceOfTheHandleIsRefused(t *testing.T) {
	w := withBridge(t, 1500)
	errs := make(chan error)
	go func() { // on another thread, which is in the host's namespace
		files, err := w.OpenTAP(t.Context(), olorin(1))
		for _, f := range files {
			f.Close()
		}
		errs <- err
	}()
	want := `create tap "kv1.0": called outside the network namespace of the handle`
	if err := <-errs; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestFramesPassBetweenTwoGuestsAtOnce(t *testing.T) {
	w := withBridge(t, 1500)
	a := w.open(t, olorin(1))[0]
	b := w.open(t, netbridge.TAP{Name: "kv2.0", Alias: "kvmctl:vm-varda:0", Bridge: "br0", Queues: 1, MAC: vardaMAC})[0]
	const vnetHeader = 10 // bytes, until QEMU sets another size
	frame := append(make([]byte, vnetHeader), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0xcc, 0, 1, 0x88, 0xb5)
	frame = append(frame, bytes.Repeat([]byte("hello "), 10)...)
	if _, err := a.Write(frame); err != nil {
		t.Fatal(err)
	}
	// The host itself may speak first, on IPv6; a frame that waited out a forward delay of 15 s would come too late.
	end := time.Now().Add(5 * time.Second)
	buf := make([]byte, 2048)
	for time.Now().Before(end) {
		fds := []unix.PollFd{{Fd: int32(b.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 100); n != 1 || err != nil {
			continue
		}
		n, err := b.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n > vnetHeader && bytes.Equal(buf[vnetHeader:n], frame[vnetHeader:]) {
			return
		}
	}
	t.Error("the frame did not arrive")
}

func TestFiftyGuestsOnOneBridge(t *testing.T) {
	w := withBridge(t, 1500)
	for i := range 50 {
		w.open(t, netbridge.TAP{Name: fmt.Sprintf("kv%d.0", i), Alias: netbridge.TAPAlias(fmt.Sprint("vm", i), 0), Bridge: "br0", Queues: 1 + i%3, MAC: units.DeriveMAC(fmt.Sprint(i))})
	}
	status, err := netbridge.Show(t.Context(), w, nil)
	if err != nil || len(status) != 1 || len(status[0].Ports) != 50 {
		t.Fatalf("status %+v, error %v, want one bridge with 50 ports", status, err)
	}
	for i, p := range status[0].Ports {
		if want := fmt.Sprint("vm", i); p.Guest != want || p.NIC != 0 || p.Link.Name != fmt.Sprintf("kv%d.0", i) {
			t.Errorf("port %d: %s, guest %q, nic %d", i, p.Link.Name, p.Guest, p.NIC)
		}
	}
	links, err := w.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var busy *netbridge.PortsError
	if _, err := netbridge.PlanDown(links, []string{"br0"}, nil); !errors.As(err, &busy) || len(busy.Ports) != 50 {
		t.Errorf("error %v, want one that names 50 ports", err)
	}
	if err := w.DeleteBridge(t.Context(), "br0"); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("delete: %v, want EBUSY", err)
	}
}
