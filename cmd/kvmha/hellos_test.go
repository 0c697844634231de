package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
	"kvmctl/ha/peer"
)

// hellos is how many bad ones are sent; KVMHA_HELLOS=1000000 gives the figure of docs/performance-ha.md.
const hellos = 8_000

// cost is what a process has taken until now.
type cost struct {
	cpu time.Duration
	fds int
	mib int
}

func costOf(t *testing.T, pid int) cost {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')'):]))
	user, _ := strconv.Atoi(f[12])
	system, _ := strconv.Atoi(f[13])
	fds, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return cost{time.Duration(user+system) * time.Second / 100, len(fds), resident(t, pid)}
}

// ownCertificate is what a stranger makes itself.
func ownCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// stranger is one sender of bad hellos, with an address of its own.
type stranger struct {
	s    *site
	at   net.IP
	to   string
	bad  [][]byte
	own  tls.Certificate
	lost int // the kernel's queue was full
	held []net.Conn
}

// knock connects once and says something bad.
func (x *stranger) knock(n int) {
	var c net.Conn
	if x.s.lab.Client.Do(func() (err error) {
		c, err = (&net.Dialer{Timeout: 300 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: x.at}}).Dial("tcp", x.to)
		return err
	}) != nil {
		x.lost++
		return
	}
	switch kind := n % (len(x.bad) + 4); kind {
	default:
		_, _ = c.Write(x.bad[kind])
	case len(x.bad): // nothing at all, and a reset
		_ = c.(*net.TCPConn).SetLinger(0)
	case len(x.bad) + 1: // nothing at all, and an end
	case len(x.bad) + 2: // nothing at all, for as long as it may
		if len(x.held) < 50 {
			x.held = append(x.held, c)
			return
		}
	case len(x.bad) + 3: // a whole handshake, with a key of its own
		if n%64 < 8 {
			_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
			t := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"kvmha"}, Certificates: []tls.Certificate{x.own}})
			if t.Handshake() == nil {
				_, _ = t.Write([]byte("\x00\x00\x00\x22{\"version\":1,\"verb\":\"report\"}    "))
			}
		}
	}
	c.Close()
}

// Strangers with many addresses and every kind of bad hello: what they cost is bounded, adverts and heartbeats keep their time by what the agent
// itself stamps, nothing of them is left, and the peer gets in meanwhile.
func TestBadHellosOfEveryKind(t *testing.T) {
	s := start(t)
	total := hellos
	if n, err := strconv.Atoi(os.Getenv("KVMHA_HELLOS")); err == nil {
		total = n
		var cancel context.CancelFunc
		s.ctx, cancel = context.WithTimeout(context.Background(), 20*time.Minute)
		defer cancel()
	}
	a, b := s.beating("")
	stayed := stays(a, b)
	hello := firstFlight(t)
	long := append([]byte("\x16\x03\x01\xff\xff"), make([]byte, 16<<10)...)
	bad := [][]byte{hello, hello[:len(hello)/2], []byte("GET / HTTP/1.0\r\n\r\n"), long, append(append([]byte(nil), hello...), long...), {0x15, 3, 1, 0, 2, 2, 40}}
	var from []*stranger
	for i := range 4 {
		v4, v6 := netip.AddrFrom4([4]byte{10, 77, 0, byte(210 + i)}), netip.MustParseAddr(fmt.Sprintf("fd77::2%d", i))
		s.must(s.lab.Client.AddAddr(netip.PrefixFrom(v4, 24)))
		s.must(s.lab.Client.AddAddr(netip.PrefixFrom(v6, 64)))
		own := ownCertificate(t)
		from = append(from, &stranger{s: s, at: v4.AsSlice(), to: netip.AddrPortFrom(a.node.Addr, peer.Port).String(), bad: bad, own: own},
			&stranger{s: s, at: v6.AsSlice(), to: netip.AddrPortFrom(a.node.Addr6, peer.Port).String(), bad: bad, own: own})
	}
	before, was, began := costOf(t, a.Pid()), a.web(), time.Now()
	done := make(chan *stranger)
	for _, x := range from {
		go func() {
			for n := range total / len(from) {
				x.knock(n)
			}
			done <- x
		}()
	}
	// Meanwhile another process of b's gets in, that has no connection yet.
	if out, talk, err := b.tell("pair", "--rotate"); err != nil {
		t.Errorf("%s %s %v", out, talk, err)
	}
	lost := 0
	for range from {
		x := <-done
		for _, c := range x.held {
			defer c.Close()
		}
		lost += x.lost
	}
	took, after, now := time.Since(began), costOf(t, a.Pid()), a.web()
	st, err := a.status()
	s.must(err)
	t.Logf("%d bad hellos in %.1f s (%d never got through the kernel's queue): %s of CPU, %.0f µs each; %d adverts, %.0f ms late at most, the loop's longest pause %.0f ms; "+
		"descriptors %d before, %d after; MiB %d before, %d after", total, took.Seconds(), lost, after.cpu-before.cpu,
		float64((after.cpu-before.cpu).Microseconds())/float64(total), now.CARP.Sent-was.CARP.Sent, 1000*now.CARP.Late, 1000*st.Loop.Longest, before.fds, after.fds, before.mib, after.mib)
	if now.CARP.Late > 1 {
		t.Errorf("adverts are late: %+v", now.CARP)
	}
	if after.mib > before.mib+64 || after.fds > before.fds+64 {
		t.Errorf("%+v, before %+v", after, before)
	}
	b.sees("active")
	stayed()
	s.noDual()
	if hatest.Until(s.ctx, func() bool { after = costOf(t, a.Pid()); return after.fds <= before.fds+4 }) != nil {
		t.Errorf("%d descriptors stay open, %d before", after.fds, before.fds)
	}
	s.must(a.Signal(unix.SIGQUIT)) // its goroutines
	_ = a.Wait(s.ctx)
	if n := len(regexp.MustCompile(`(?m)^goroutine \d+ `).FindAllString(a.Output(), -1)); n > 100 {
		t.Errorf("%d goroutines", n)
	} else {
		t.Logf("%d goroutines", n)
	}
}
