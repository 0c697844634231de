package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines collects what a server logs.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) containing(text string) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if strings.Contains(s, text) {
			all = append(all, s)
		}
	}
	return all
}

// raw frames a text.
func raw(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// A later agent asks in its own form: what is known of it is answered, and what is not is named once.
func TestAFrameOfALaterVersion(t *testing.T) {
	a, b := identity(t), identity(t)
	log := &lines{}
	node := serveOn(t, "127.0.0.1:0", b, []Node{{Name: "a", Key: a.Public()}}, slog.New(slog.NewTextHandler(log, nil)), echo)
	c := NewClient("", a)
	defer c.Close()
	conn, err := c.dial(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		if _, err := conn.Write(raw(`{"version":2,"program":"9.9","verb":"report","body":{"text":"hi","colour":3},"priority":7,"a\u001b[31m":1}`)); err != nil {
			t.Fatal(err)
		}
		f, unknown, err := readFrame(conn)
		if err != nil || string(f.Body) != `{"text":"a says hi"}` || f.Error != nil || f.Version != 1 || f.Program != "b's version" || unknown != nil {
			t.Fatalf("got %+v, %v, %v", f, unknown, err)
		}
	}
	if _, err := conn.Write(raw(`{"version":2,"verb":"migrate"}`)); err != nil {
		t.Fatal(err)
	}
	if f, _, err := readFrame(conn); err != nil || f.Error == nil || f.Error.Code != CodeUnknownVerb {
		t.Fatalf("got %+v, %v", f, err)
	}
	said := log.containing("newer peer channel")
	if len(said) != 1 || !strings.Contains(said[0], `program=9.9 version=2 ours=1 left_out="a?[31m priority"`) {
		t.Errorf("logged %q", said)
	}
}

// A later agent's answer, with fields that this one does not know.
func TestAnAnswerOfALaterVersion(t *testing.T) {
	a, b := identity(t), identity(t)
	node := serve(t, b, []Node{{Name: "a", Key: a.Public()}}, func(s *Server) {
		s.Handle(VerbReport, func(context.Context, Node, json.RawMessage) (any, error) {
			return map[string]any{"text": "hi", "later": []int{1}}, nil
		})
	})
	c := NewClient("", a)
	defer c.Close()
	var out ping
	if err := c.Do(t.Context(), node, VerbReport, nil, &out); err != nil || out.Text != "hi" {
		t.Errorf("got %+v, %v", out, err)
	}
}

// What breaks the rules ends the connection, and takes no more memory than a frame may.
func TestBadFramesEndTheConnection(t *testing.T) {
	a, b := identity(t), identity(t)
	node := serve(t, b, []Node{{Name: "a", Key: a.Public()}}, echo)
	c := NewClient("", a)
	defer c.Close()
	for name, sent := range map[string][]byte{
		"4 GiB": {0xff, 0xff, 0xff, 0xff}, "a byte too many": binary.BigEndian.AppendUint32(nil, MaxFrame+1), "no JSON": raw("hello"), "no object": raw("[1]"),
		"null": raw("null"), "no version": raw(`{"verb":"report"}`), "empty": raw(""), "deep": raw(strings.Repeat("[", MaxFrame)),
		"version of another type": raw(`{"version":"1"}`),
	} {
		conn, err := c.dial(t.Context(), node)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(conn); len(rest) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: answered %q, %v", name, rest, err)
		}
		conn.Close()
	}
	if err := c.Do(t.Context(), node, VerbReport, ping{strings.Repeat("x", MaxFrame)}, nil); !errors.Is(err, ErrFrameTooLong) {
		t.Errorf("a request that no frame holds: %v", err)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add([]byte(`{"version":1,"verb":"report","body":{}}`))
	f.Add([]byte(`{"version":2,"verb":"report","later":[1,2],"error":{"code":"x","text":"\u001b[2J"}}`))
	f.Add([]byte(`{"version":1,"error":null}`))
	f.Add([]byte(`{}`))
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, unknown, err := parseFrame(data)
		if err != nil {
			if !errors.Is(err, ErrBadFrame) && !errors.Is(err, ErrFrameTooLong) {
				t.Errorf("got %v", err)
			}
			return
		}
		if len(unknown) > maxUnknown || !slices.IsSorted(unknown) {
			t.Errorf("unknown: %q", unknown)
		}
		shown := append(unknown, got.Program, string(got.Verb))
		if got.Error != nil {
			shown = append(shown, string(got.Error.Code), got.Error.Text, got.Error.Hint)
		}
		for _, s := range shown {
			if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) || len(s) > 500 {
				t.Errorf("a terminal would obey %q", s)
			}
		}
		var b bytes.Buffer
		if err := writeFrame(&b, got, nil); errors.Is(err, ErrFrameTooLong) {
			return // what was cleaned may take more room
		} else if err != nil {
			t.Fatal(err)
		}
		again, _, err := readFrame(&b)
		if err != nil || again.Verb != got.Verb || again.Program != got.Program || (again.Error == nil) != (got.Error == nil) {
			t.Errorf("%+v comes back as %+v, %v", got, again, err)
		}
	})
}
