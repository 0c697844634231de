//go:build linux

package netbridge

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/internal/units"
)

func TestAQueueThatAStrangerTookIsNoticed(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	runtime.LockOSThread() // for good: the thread ends with its namespace
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := k.CreateBridge(t.Context(), "br0", units.DeriveMAC("br0")); err != nil {
		t.Fatal(err)
	}
	br, err := k.linkByName(t.Context(), "br0")
	if err != nil {
		t.Fatal(err)
	}
	tap := TAP{Name: "kv1.0", Alias: "kvmctl:vm:0", Bridge: "br0", Queues: 2, MTU: 1500, Spoof: true}
	files, err := k.openQueues(t.Context(), tap)
	defer closeAll(files)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	req, err := unix.NewIfreq(tap.Name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
	if err := unix.IoctlIfreq(int(stranger.Fd()), unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	want := "it has 3 queues instead of 2: another process has attached to it"
	if err := k.configureTAP(t.Context(), tap, br.Link); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
