package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netns"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

// How many of each the networks' figure makes.
const (
	netBridges = 20
	netTAPs    = 100
)

// networks compares `kvmctl net apply` of many bridges, and the TAPs that starts make on them, with the same through ip(8) and
// bridge(8) in batches. Each run has a network namespace of its own.
func (b *bench) networks(ctx context.Context) error {
	dir := filepath.Join(b.o.root, "networks")
	if err := os.MkdirAll(filepath.Join(dir, "etc/kvm"), 0o755); err != nil {
		return err
	}
	var toml, links, entries strings.Builder
	for i := range netBridges {
		fmt.Fprintf(&toml, "[[bridge]]\nname = \"nb%d\"\naddress = \"10.50.%d.1/24\"\n", i, i)
		mac := units.DeriveMAC("bench", fmt.Sprint(i))
		fmt.Fprintf(&links, "link add nb%d address %s mtu 1400 type bridge stp_state 0 forward_delay 0\n", i, mac)
		fmt.Fprintf(&links, "link set nb%d alias kvmctl:bridge:nb%d\nlink set nb%d mtu 1500\naddr add 10.50.%d.1/24 brd + dev nb%d\nlink set nb%d up\n", i, i, i, i, i, i)
	}
	for i := range netTAPs {
		tap := benchTAP(i)
		fmt.Fprintf(&links, "tuntap add %s mode tap vnet_hdr\nlink set %s alias %s mtu 1500 addrgenmode none\n", tap.Name, tap.Name, tap.Alias)
		fmt.Fprintf(&links, "link set %s master %s\nlink set %s type bridge_slave locked on learning off guard on\nlink set %s up\n", tap.Name, tap.Bridge, tap.Name, tap.Name)
		fmt.Fprintf(&entries, "fdb add %s dev %s master static sticky\n", tap.MAC, tap.Name)
	}
	for name, text := range map[string]string{"etc/kvm/kvm.toml": toml.String(), "links": links.String(), "entries": entries.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	s, err := inTurn(ctx, b.o.runs,
		contender{"kvmctl net apply and TAPs", inNewNetns(func(ctx context.Context) (time.Duration, error) { return b.applyNetworks(ctx, dir) })},
		contender{"ip -batch", inNewNetns(func(ctx context.Context) (time.Duration, error) {
			d, err := timed(ctx, "ip", "-batch", filepath.Join(dir, "links"))
			if err != nil {
				return 0, err
			}
			more, err := timed(ctx, "bridge", "-batch", filepath.Join(dir, "entries"))
			return d + more, err
		})})
	if err != nil {
		return err
	}
	b.report.add(row{what: fmt.Sprintf("`kvmctl net apply` of %d bridges, and the %d TAPs of starts on them", netBridges, netTAPs), times: s[0]})
	b.report.add(row{what: "the same by `ip -batch` and `bridge -batch`", times: s[1]})
	b.report.note("Networks: kvmctl takes %s the time of the batches.", times(s[0], s[1]))
	return nil
}

func benchTAP(i int) netbridge.TAP {
	return netbridge.TAP{
		Name: fmt.Sprintf("kv%d.0", 70000+i), Alias: netbridge.TAPAlias(fmt.Sprint("vm", i), 0), Bridge: fmt.Sprint("nb", i%netBridges),
		Queues: 1, MAC: units.DeriveMAC("bench tap", fmt.Sprint(i)),
	}
}

// applyNetworks runs kvmctl, and then does what a start does for each TAP, in the same way.
func (b *bench) applyNetworks(ctx context.Context, root string) (d time.Duration, err error) {
	if d, err = timed(ctx, b.bin, "--root", root, "net", "apply"); err != nil {
		return 0, err
	}
	k, err := netbridge.NewKernel()
	if err != nil {
		return 0, err
	}
	defer k.Close()
	began := time.Now()
	for i := range netTAPs {
		files, err := k.OpenTAP(ctx, benchTAP(i))
		for _, f := range files {
			defer f.Close()
		}
		if err != nil {
			return 0, err
		}
	}
	return d + time.Since(began), nil
}

// inNewNetns runs a contender on a thread of its own in a namespace of its own; both end with it.
func inNewNetns(once func(context.Context) (time.Duration, error)) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (d time.Duration, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			ns, e := netns.New()
			if e != nil {
				err = e
				return
			}
			d, err = once(ctx)
			err = errors.Join(err, ns.Close())
		}()
		<-done
		return d, err
	}
}
