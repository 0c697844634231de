package beat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var testKey = [32]byte{1, 2, 3}

func full() Datagram {
	d := Datagram{
		Sender: IDOf([]byte("a")), Mark: Mark{Boot{1}, 1_000_000_007}, Number: 1, Echo: Mark{Boot{2}, 99}, Tick: true, Restarting: true,
		Paths: []Path{{0, 0}, {1, 65535 * time.Millisecond}},
	}
	for i, name := range []string{"web", "mail"} {
		d.Groups = append(d.Groups, Group{ID: GroupOf(name), Role: Role(3 + i), Skew: 100, Reasons: 0x8001, Preempt: i == 0, Released: 1 << 63, Answered: 7, Declined: i == 1, Gateway: i == 1})
	}
	return d
}

func TestWireIsReadAsItWasWritten(t *testing.T) {
	biggest := full()
	for len(biggest.Groups) < MaxGroups {
		biggest.Groups = append(biggest.Groups, biggest.Groups[0])
	}
	for len(biggest.Paths) < MaxPaths {
		biggest.Paths = append(biggest.Paths, biggest.Paths[0])
	}
	for name, d := range map[string]Datagram{"empty": {}, "full": full(), "biggest": biggest} {
		b := d.Append([]byte("before"), testKey)[6:]
		got, err := Parse(b, testKey)
		if diff := cmp.Diff(d, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		if id, err := Sender(b); id != d.Sender || err != nil {
			t.Errorf("%s: from %x, %v", name, id, err)
		}
		if name == "biggest" && len(b) != MaxSize {
			t.Errorf("%d bytes, bounded by %d", len(b), MaxSize)
		}
	}
}

// Every field is authenticated: there is no bit that can be changed.
func TestWireEveryBitCounts(t *testing.T) {
	good := full().Append(nil, testKey)
	for i := range 8 * len(good) {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if d, err := Parse(b, testKey); err == nil {
			t.Fatalf("bit %d changed, and it was taken: %+v", i, d)
		}
	}
	if _, err := Parse(good, [32]byte{9}); !errors.Is(err, ErrMAC) {
		t.Errorf("with another key: %v", err)
	}
	for n := range len(good) {
		if _, err := Parse(good[:n], testKey); err == nil {
			t.Fatalf("the first %d bytes were taken", n)
		}
	}
	if _, err := Parse(append(good, 0), testKey); err == nil {
		t.Error("one byte more was taken")
	}
}

// Counts that the body does not have, and roles that there are not, signed with the right key: a newer peer, or a broken one.
func TestWireRefusesWhatIsSignedAndWrong(t *testing.T) {
	for name, change := range map[string]func([]byte){
		"version": func(b []byte) { b[4] = 2 }, "magic": func(b []byte) { b[0] = 0 }, "more paths": func(b []byte) { b[headSize] = 3 },
		"255 paths": func(b []byte) { b[headSize] = 255 }, "no paths": func(b []byte) { b[headSize] = 0 },
		"role": func(b []byte) { b[headSize+1+2*pathSize+1+8] = byte(roles) }, "fewer groups": func(b []byte) { b[headSize+1+2*pathSize] = 1 },
	} {
		b := full().Append(nil, testKey)
		change(b)
		b = sign(b[:len(b)-macSize], testKey)
		if d, err := Parse(b, testKey); err == nil {
			t.Errorf("%s: taken as %+v", name, d)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(full().Append(nil, testKey))
	f.Add(Datagram{}.Append(nil, testKey))
	f.Add(binary.BigEndian.AppendUint32(nil, magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = Parse(b, testKey) // as it came: hardly anything has a right MAC
		b = sign(bytes.Clone(b), testKey)
		d, err := Parse(b, testKey)
		if err != nil {
			return
		}
		if again, err := Parse(d.Append(nil, testKey), testKey); err != nil || !cmp.Equal(d, again) {
			t.Errorf("%v, %+v is %+v", err, d, again)
		}
	})
}

// BenchmarkJunk is what a stranger's datagram costs.
func BenchmarkJunk(b *testing.B) {
	junk := full().Append(nil, [32]byte{9})
	b.Run("no-heartbeat", func(b *testing.B) {
		for b.Loop() {
			_, _ = Sender(junk[1:])
		}
	})
	b.Run("forged", func(b *testing.B) {
		for b.Loop() {
			_, _ = Parse(junk, testKey)
		}
	})
}
