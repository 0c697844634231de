//go:build linux

package netbridge

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestAListThatChangedWhileItWasReadIsReadAgain(t *testing.T) {
	t.Parallel()
	whole := [][]byte{{1}, {2}}
	for _, interrupted := range []int{0, 1, dumpTries - 1} {
		tries := 0
		got, err := retryDump(t.Context(), func() ([][]byte, error) {
			if tries++; tries <= interrupted {
				return whole[:1], nl.ErrDumpInterrupted
			}
			return whole, nil
		})
		if err != nil || len(got) != 2 || tries != interrupted+1 {
			t.Errorf("interrupted %d times: %d messages after %d tries, error %v", interrupted, len(got), tries, err)
		}
	}
}

func TestAListThatAlwaysChangesIsAnErrorInTheEnd(t *testing.T) {
	t.Parallel()
	tries := 0
	got, err := retryDump(t.Context(), func() ([][]byte, error) {
		tries++
		return [][]byte{{1}}, nl.ErrDumpInterrupted
	})
	if !errors.Is(err, nl.ErrDumpInterrupted) || got != nil || tries != dumpTries {
		t.Errorf("%d messages after %d tries, error %v", len(got), tries, err)
	}
}

func TestOtherErrorsOfAListAreNotRetried(t *testing.T) {
	t.Parallel()
	tries := 0
	if _, err := retryDump(t.Context(), func() ([][]byte, error) { tries++; return nil, unix.EPERM }); !errors.Is(err, unix.EPERM) || tries != 1 {
		t.Errorf("error %v after %d tries, want EPERM after 1", err, tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tries = 0
	_, err := retryDump(ctx, func() ([][]byte, error) {
		tries++
		cancel()
		return nil, nl.ErrDumpInterrupted
	})
	if !errors.Is(err, context.Canceled) || tries != 1 {
		t.Errorf("cancelled: error %v after %d tries", err, tries)
	}
}

func TestBroadcastIsTheHighestAddress(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"10.2.0.1/16": "10.2.255.255", "10.2.3.4/24": "10.2.3.255", "10.2.3.4/30": "10.2.3.7", "10.2.3.4/21": "10.2.7.255", "10.0.0.1/0": "255.255.255.255",
		"10.2.3.4/31": "", "10.2.3.4/32": "", "fd00::1/64": "",
	} {
		b, ok := broadcast(netip.MustParsePrefix(prefix))
		got := ""
		if ok {
			got = netip.AddrFrom4(b).String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
	}
}

func TestShortMessagesAreRefused(t *testing.T) {
	t.Parallel()
	for n := range unix.SizeofIfInfomsg {
		if _, err := parseLink(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are taken for an interface", n)
		}
	}
	for n := range unix.SizeofIfAddrmsg {
		if _, _, err := parseAddress(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are taken for an address", n)
		}
	}
	for n := range unix.SizeofNdMsg {
		if _, ok := parseNeighbour(make([]byte, n), 0, [6]byte{}); ok {
			t.Errorf("%d bytes are taken for a neighbour", n)
		}
	}
}
