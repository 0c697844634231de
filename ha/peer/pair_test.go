package peer

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestWordsAreDistinct(t *testing.T) {
	sorted := slices.Compact(slices.Sorted(slices.Values(words[:])))
	if len(sorted) != len(words) || slices.Contains(sorted, "") {
		t.Errorf("%d words", len(sorted))
	}
}

// awaiting runs Await beside the test.
func awaiting(t *testing.T, id *Identity, name string) (at netip.AddrPort, end func() (Introduction, error)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var in Introduction
	var failed error
	var done sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	done.Go(func() { defer l.Close(); in, failed = Await(ctx, id, name, l) })
	t.Cleanup(func() { l.Close(); done.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort(), func() (Introduction, error) { done.Wait(); return in, failed }
}

func TestPairShowsBothTheSameWords(t *testing.T) {
	a, b := identity(t), identity(t)
	at, end := awaiting(t, a, "varda1")
	there, err := Introduce(t.Context(), b, "varda2", at)
	if err != nil {
		t.Fatal(err)
	}
	here, err := end()
	if err != nil {
		t.Fatal(err)
	}
	if here.Words != there.Words || len(strings.Split(here.Words, "-")) != pairWords {
		t.Errorf("%q and %q", here.Words, there.Words)
	}
	if here.Name != "varda2" || here.Key != b.Public() || there.Name != "varda1" || there.Key != a.Public() {
		t.Errorf("%+v, %+v", here, there)
	}
	dir := t.TempDir()
	if err := SavePending(dir, here); err != nil {
		t.Fatal(err)
	}
	if _, err := Confirm(dir, "zebra zebra zebra zebra"); !errors.Is(err, ErrOtherWords) {
		t.Errorf("other words: %v", err)
	}
	if names, err := Pinned(dir); err != nil || len(names) != 0 {
		t.Errorf("pinned without a yes: %v, %v", names, err)
	}
	if _, err := Confirm(dir, " "+strings.ToUpper(strings.ReplaceAll(here.Words, "-", "  "))+"\n"); err != nil {
		t.Fatal(err)
	}
	if p, err := LoadPin(dir, "varda2"); err != nil || p.Key != b.Public() {
		t.Errorf("got %v, %v", p, err)
	}
	if _, err := Confirm(dir, here.Words); !errors.Is(err, ErrNothingPending) {
		t.Errorf("a second time: %v", err)
	}
}

// Somebody who relays the exchange, with a key of his own toward each side, shows them different words.
func TestSomebodyInBetweenIsSeen(t *testing.T) {
	a, b, mallory := identity(t), identity(t), identity(t)
	atMallory, toB := awaiting(t, mallory, "varda1")
	there, err := Introduce(t.Context(), b, "varda2", atMallory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := toB(); err != nil {
		t.Fatal(err)
	}
	atA, toA := awaiting(t, a, "varda1")
	if _, err := Introduce(t.Context(), mallory, "varda2", atA); err != nil {
		t.Fatal(err)
	}
	here, err := toA()
	if err != nil || here.Words == there.Words {
		t.Errorf("%q on both sides, %v", here.Words, err)
	}
}

// Whoever connects knows the words only after he is bound to his nonce. One who then breaks off, to try for better ones, has few tries.
func TestWordsCannotBeGround(t *testing.T) {
	a, mallory := identity(t), identity(t)
	t.Run("another nonce than the one he is bound to", func(t *testing.T) {
		at, end := awaiting(t, a, "varda1")
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		own := hello{Name: "varda2", Key: mallory.Public()}
		own.Commit = commitment(own, bytes.Repeat([]byte{1}, nonceSize))
		if err := writeHello(c, own); err != nil {
			t.Fatal(err)
		}
		if _, err := readHello(c); err != nil {
			t.Fatal(err)
		}
		if err := writeHello(c, hello{Nonce: bytes.Repeat([]byte{2}, nonceSize)}); err != nil {
			t.Fatal(err)
		}
		if in, err := end(); !errors.Is(err, ErrBroken) || in.Words != "" {
			t.Errorf("got %+v, %v", in, err)
		}
	})
	t.Run("again and again", func(t *testing.T) {
		at, end := awaiting(t, a, "varda1")
		for range pairAttempts {
			c, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			own := hello{Name: "varda2", Key: mallory.Public()}
			own.Commit = commitment(own, nonce())
			if err := writeHello(c, own); err != nil {
				t.Fatal(err)
			}
			if _, err := readHello(c); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if _, err := end(); !errors.Is(err, ErrTooMany) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("rubbish costs no try", func(t *testing.T) {
		at, end := awaiting(t, a, "varda1")
		for range 2 * pairAttempts {
			c, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if _, err := Introduce(t.Context(), mallory, "varda2", at); err != nil {
			t.Fatal(err)
		}
		if _, err := end(); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Await(ctx, identity(t), "varda1", l); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseHello(f *testing.F) {
	f.Add([]byte(`{"version":1,"name":"varda2","key":"","commit":"AAAA"}`))
	f.Add([]byte(`{"version":2,"name":"varda2","later":{"x":[1]}}`))
	f.Add([]byte(`{"version":1,"name":"../../etc"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHello(data)
		if err != nil {
			if !errors.Is(err, ErrBadHello) {
				t.Errorf("got %v", err)
			}
			return
		}
		if h.Name != "" && !ValidName(h.Name) || len(data) > pairFrame {
			t.Errorf("accepted %+v", h)
		}
		var b bytes.Buffer
		if err := writeHello(&b, h); err != nil {
			t.Fatal(err)
		}
		again, err := readHello(&b)
		if err != nil || again.Name != h.Name || again.Key != h.Key || !bytes.Equal(again.Nonce, h.Nonce) {
			t.Errorf("%+v comes back as %+v, %v", h, again, err)
		}
	})
}
