package netbridge

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// The attributes of a classic BPF filter that the library does not name (linux/pkt_cls.h).
const (
	tcaBPFOpsLen = 4
	tcaBPFOps    = 5
)

// The order in which what comes from a guest is looked at.
const (
	prioSource = 1
	prioPolice = 2
)

// shape sets up what a new TAP's traffic passes; nothing for no sources and no rate.
func (k *LinuxKernel) shape(ctx context.Context, index int, sources []units.MAC, rate units.Rate) error {
	if len(sources) > 0 {
		if err := k.filterSources(ctx, index, sources); err != nil {
			return err
		}
	}
	if rate > 0 {
		return k.limit(ctx, index, rate)
	}
	return nil
}

// SetRate changes the limit of a TAP, each way; 0 takes it away. ENODEV: no such interface; *InUseError: it is not a TAP of ours.
func (k *LinuxKernel) SetRate(ctx context.Context, tap string, rate units.Rate) error {
	l, err := k.linkByName(ctx, tap)
	if err == nil {
		if _, _, ok := l.Guest(); !ok {
			err = &InUseError{Name: tap, Link: l.Link}
		}
	}
	if err == nil && rate > 0 {
		err = k.limit(ctx, l.Index, rate)
	} else if err == nil {
		err = k.unlimit(ctx, l.Index)
	}
	return wrap(err, "limit %q to %s", tap, rate)
}

// limit sets a limit in place of any other.
func (k *LinuxKernel) limit(ctx context.Context, index int, rate units.Rate) error {
	s := shapingOf(rate)
	if err := k.policeFrom(ctx, index, s); err != nil {
		return err
	}
	opt := nl.TcTbfQopt{Rate: nl.TcRateSpec{Linklayer: nl.LINKLAYER_ETHERNET, Rate: uint32(s.Rate)}, Limit: s.ToQueue}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, opt.Serialize())
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(s.ToBurst))
	msg := tcMsg(index, netlink.HANDLE_ROOT, netlink.MakeHandle(1, 0))
	err := do(ctx, k.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, msg, kindAttr("tbf"), options))
	if unsupported(err) {
		err = &UnsupportedError{What: "limit what a guest gets (module sch_tbf)", Instead: "no rate for that [[nic]]", Err: err}
	}
	return err
}

func (k *LinuxKernel) unlimit(ctx context.Context, index int) error {
	err := do(ctx, k.request(unix.RTM_DELQDISC, unix.NLM_F_ACK, tcMsg(index, netlink.HANDLE_ROOT, netlink.MakeHandle(1, 0))))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // it has another root, the kernel's own
		err = nil
	}
	return errors.Join(err, k.dropFilter(ctx, index, prioPolice))
}

// dropFilter removes a filter of ours; one that is not there is no error.
func (k *LinuxKernel) dropFilter(ctx context.Context, index int, prio uint16) error {
	err := do(ctx, k.request(unix.RTM_DELTFILTER, unix.NLM_F_ACK, filterMsg(index, prio)))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // EINVAL: not even the ingress hook is there
		return nil
	}
	return err
}

// policeFrom drops what a guest sends beyond the rate.
func (k *LinuxKernel) policeFrom(ctx context.Context, index int, s shaping) error {
	if err := k.ingress(ctx, index); err != nil {
		return err
	}
	police := nl.TcPolice{Action: int32(netlink.TC_POLICE_SHOT), Mtu: s.LargestFrom, Rate: nl.TcRateSpec{Rate: uint32(s.Rate)}}
	var table [256]uint32
	if netlink.CalcRtable(&police.Rate, table[:], -1, s.LargestFrom, nl.LINKLAYER_ETHERNET) < 0 {
		return errors.New("calculate the rate table")
	}
	police.Burst = netlink.Xmittime(s.Rate, s.FromBurst)
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	action := options.AddRtAttr(nl.TCA_MATCHALL_ACT, nil).AddRtAttr(1, nil)
	action.AddRtAttr(nl.TCA_ACT_KIND, nl.ZeroTerminated("police"))
	parms := action.AddRtAttr(nl.TCA_ACT_OPTIONS, nil)
	parms.AddRtAttr(nl.TCA_POLICE_TBF, police.Serialize())
	parms.AddRtAttr(nl.TCA_POLICE_RATE, netlink.SerializeRtab(table))
	if err := k.dropFilter(ctx, index, prioPolice); err != nil {
		return err
	}
	err := do(ctx, k.request(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK,
		filterMsg(index, prioPolice), kindAttr("matchall"), options))
	if unsupported(err) {
		err = &UnsupportedError{What: "limit what a guest sends (modules cls_matchall and act_police)", Instead: "no rate for that [[nic]]", Err: err}
	}
	return err
}

// filterSources drops what a guest sends from other addresses.
func (k *LinuxKernel) filterSources(ctx context.Context, index int, sources []units.MAC) error {
	if err := k.ingress(ctx, index); err != nil {
		return err
	}
	prog := sourceFilter(sources)
	ops := make([]byte, 0, 8*len(prog))
	for _, i := range prog {
		ops = binary.NativeEndian.AppendUint16(ops, i.Code)
		ops = append(ops, i.Jt, i.Jf)
		ops = binary.NativeEndian.AppendUint32(ops, i.K)
	}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(tcaBPFOpsLen, nl.Uint16Attr(uint16(len(prog))))
	options.AddRtAttr(tcaBPFOps, ops)
	options.AddRtAttr(nl.TCA_BPF_FLAGS, nl.Uint32Attr(nl.TCA_BPF_FLAG_ACT_DIRECT))
	err := do(ctx, k.request(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK,
		filterMsg(index, prioSource), kindAttr("bpf"), options))
	if unsupported(err) {
		err = &UnsupportedError{What: "filter the addresses that a guest sends from (module cls_bpf)", Instead: "no carp, or spoof = true, for that [[nic]]", Err: err}
	}
	return wrap(err, "filter the guest's addresses")
}

// ingress makes the hook that filters of what comes from the guest hang on.
func (k *LinuxKernel) ingress(ctx context.Context, index int) error {
	err := do(ctx, k.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK,
		tcMsg(index, netlink.HANDLE_INGRESS, netlink.MakeHandle(0xffff, 0)), kindAttr("ingress")))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if unsupported(err) {
		err = &UnsupportedError{What: "look at what a guest sends (module sch_ingress)", Instead: "no carp and no rate for that [[nic]]", Err: err}
	}
	return wrap(err, "make the ingress hook")
}

func tcMsg(index int, parent, handle uint32) *nl.TcMsg {
	return &nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(index), Parent: parent, Handle: handle}
}

// filterMsg starts a message about the filter of that place on the ingress hook.
func filterMsg(index int, prio uint16) *nl.TcMsg {
	msg := tcMsg(index, netlink.MakeHandle(0xffff, 0), 0)
	msg.Info = netlink.MakeHandle(prio, nl.Swap16(unix.ETH_P_ALL))
	return msg
}

func kindAttr(kind string) *nl.RtAttr {
	return nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind))
}
