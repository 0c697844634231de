package peer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"
)

type ping struct {
	Text string `json:"text"`
}

// echo answers with what it was asked, and who asked.
func echo(s *Server) {
	s.Handle(VerbReport, func(_ context.Context, from Node, in json.RawMessage) (any, error) {
		var p ping
		if err := json.Unmarshal(in, &p); err != nil {
			return nil, err
		}
		return ping{from.Name + " says " + p.Text}, nil
	})
	s.HandleStream(VerbSyncPull, func(_ context.Context, from Node, in json.RawMessage) (func(context.Context, net.Conn), error) {
		if string(in) != `"zones"` {
			return nil, &AnswerError{Code: CodeRefused, Text: "not declared: " + string(in), Advice: "kvmha check"}
		}
		return func(_ context.Context, c net.Conn) {
			_, _ = io.Copy(c, c)
		}, nil
	})
}

func TestDoAndStreamBetweenPairedNodes(t *testing.T) {
	a, b := identity(t), identity(t)
	node := serve(t, b, []Node{{Name: "a", Key: a.Public()}}, echo)
	c := NewClient("a's version", a)
	defer c.Close()
	for range 3 { // the second and third time over the connection that is there
		var out ping
		if err := c.Do(t.Context(), node, VerbReport, ping{"hello"}, &out); err != nil || out.Text != "a says hello" {
			t.Fatalf("got %+v, %v", out, err)
		}
	}
	s, err := c.Stream(t.Context(), node, VerbSyncPull, "zones")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Write([]byte("bytes")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "bytes" {
		t.Fatalf("got %q, %v", got, err)
	}
	_, err = c.Stream(t.Context(), node, VerbSyncPull, "/etc")
	answer, ok := errors.AsType[*AnswerError](err)
	if !ok || answer.Error() != `b answers: not declared: "/etc"` || !errors.Is(err, ErrRefused) || answer.Hint() != "kvmha check" {
		t.Errorf("got %v", err)
	}
}

func TestVerbsThatNobodyAnswersYet(t *testing.T) {
	a, b := identity(t), identity(t)
	node := serve(t, b, []Node{{Name: "a", Key: a.Public()}}, nil)
	c := NewClient("a's version", a)
	defer c.Close()
	for _, v := range []Verb{VerbOutdateDisk, VerbSplitBrainStep} {
		if err := c.Do(t.Context(), node, v, nil, nil); !errors.Is(err, ErrNoStorage) || err.Error() != "b answers: this agent has no storage yet" {
			t.Errorf("%s: got %v", v, err)
		}
	}
	err := c.Do(t.Context(), node, "exec", "rm -rf /", nil)
	if !errors.Is(err, ErrUnknownVerb) || err.Error() != `b answers: this agent (b's version) does not know the request "exec"` {
		t.Errorf("got %v", err)
	}
}

func TestWhoIsNotPairedIsRefusedOnEitherSide(t *testing.T) {
	a, b, stranger := identity(t), identity(t), identity(t)
	node := serve(t, b, []Node{{Name: "a", Key: a.Public()}, {Name: "unpaired"}}, echo)
	tests := []struct {
		name string
		id   *Identity
		node func(Node) Node
		want error
	}{
		{"the server does not know the client", stranger, func(n Node) Node { return n }, ErrUnpaired},
		{"the client does not know the server", a, func(n Node) Node { n.Key = stranger.Public(); return n }, ErrStranger},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewClient("", tt.id)
			defer c.Close()
			if err := c.Do(t.Context(), tt.node(node), VerbReport, ping{"x"}, nil); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	c := NewClient("", a)
	if _, ok := errors.AsType[*NotPairedError](c.Do(t.Context(), Node{Name: "x"}, VerbReport, nil, nil)); !ok {
		t.Error("a node without a key was asked")
	}
}
