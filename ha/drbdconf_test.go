package ha

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/peer"
)

// Each of two nodes asks the other one's agent what drbdadm reads there; no secret is in the answer, and only a member gets one.
func TestDRBDConfOverTheChannel(t *testing.T) {
	const text = "# TOPSECRET\nglobal { usage-count no; }\ncommon { net { shared-secret \"TOPSECRET\"; } }\ninclude \"drbd.d/*.res\";\n"
	type end struct {
		id   *peer.Identity
		node peer.Node
		srv  *peer.Server
		root string
	}
	var ends [2]end
	for i := range ends {
		e := &ends[i]
		e.root = t.TempDir()
		if err := os.MkdirAll(filepath.Join(e.root, "etc/drbd.d"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"drbd.conf": text, "drbd.d/r0.res": fmt.Sprintf("resource r%d { }\n", i)} {
			if err := os.WriteFile(filepath.Join(e.root, "etc", name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		id, err := peer.CreateIdentity(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		name := []string{"varda2", "vm-varda"}[i]
		e.id, e.srv = id, peer.NewServer("test", nil)
		e.node = peer.Node{Name: name, Key: id.Public(), Role: peer.Member, Addresses: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}}
		e.srv.Handle(peer.VerbDRBDConf, tellDRBDConf(conf.Dir(e.root), func() (string, error) { return name + ".local", nil }))
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- e.srv.Serve(ctx, l) }()
		t.Cleanup(func() {
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
	for i := range ends {
		ends[i].srv.Use(ends[i].id, []peer.Node{ends[1-i].node})
	}
	ask := func(from, to end) (DRBDConf, error) {
		c := peer.NewClient("test", from.id)
		defer c.Close()
		var d DRBDConf
		return d, c.Do(t.Context(), to.node, peer.VerbDRBDConf, nil, &d)
	}
	for i, from := range ends {
		to := ends[1-i]
		d, err := ask(from, to)
		if err != nil || d.Host != to.node.Name+".local" {
			t.Fatalf("%+v, %v", d, err)
		}
		texts, err := d.texts()
		if err != nil {
			t.Fatal(err)
		}
		if all := fmt.Sprintf("%s", texts); strings.Contains(all, "SECRET") || len(texts) != 2 {
			t.Errorf("%d files: %s", len(texts), all)
		}
		there, err := d.Read(to.node.Name + ":")
		here, err2 := conf.Load(conf.Dir(from.root), "", conf.Main)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		all := conf.Diff(here, there)
		if len(all) != 2 || all[0].Here.At.String() != "/etc/drbd.d/r0.res:1:10" || all[1].There.At.String() != to.node.Name+":/etc/drbd.d/r0.res:1:10" {
			t.Errorf("differences: %+v", all)
		}
	}

	code := func(err error) peer.Code {
		answer, _ := errors.AsType[*peer.AnswerError](err)
		if answer == nil {
			t.Fatalf("not an answer: %v", err)
		}
		return answer.Code
	}
	for _, step := range []struct {
		text, say string
		want      peer.Code
	}{
		{"common { net { shared-secret TOPSECRET oops; } }", "vm-varda answers: cannot read drbd.conf: /etc/drbd.conf:1:40: \";\" is expected, not another word", peer.CodeFailed},
		{"include none;", "vm-varda answers: cannot read drbd.conf: /etc/drbd.conf:1:9: read /etc/none: no such file or directory", peer.CodeNoStorage},
	} {
		if err := os.WriteFile(filepath.Join(ends[1].root, conf.Main), []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(ends[0], ends[1]); err == nil || code(err) != step.want || err.Error() != step.say {
			t.Errorf("%q: %v", step.text, err)
		}
	}
	arbiter := ends[0].node
	arbiter.Role = peer.Arbiter
	ends[1].srv.Use(ends[1].id, []peer.Node{arbiter})
	if _, err := ask(ends[0], ends[1]); err == nil || code(err) != peer.CodeRefused {
		t.Errorf("an arbiter: %v", err)
	}
}

// What fits no frame is said, and what comes is bounded whatever it claims.
func TestDRBDConfIsBounded(t *testing.T) {
	noise := make([]byte, 100<<10)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = 'a' + byte(x>>24)%26
	}
	if _, err := PackDRBDConf("h", conf.Memory{conf.Main: noise}); !errors.Is(err, errDRBDConfRoom) {
		t.Errorf("too much: %v", err)
	}
	seed := conf.Memory{conf.Main: []byte(strings.Repeat("resource r { }\n", 1<<14))}
	d, err := PackDRBDConf("h", seed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(""); err != nil {
		if _, ok := errors.AsType[*conf.Error](err); !ok {
			t.Error(err)
		}
	}
	bomb, err := PackDRBDConf("h", conf.Memory{conf.Main: bytes.Repeat([]byte("a"), drbdConfTotal+1)})
	if err != nil {
		t.Fatal(err)
	}
	for name, texts := range map[string][]byte{"a bomb": bomb.Texts, "nothing": nil, "half": d.Texts[:len(d.Texts)/2], "no gzip": []byte("{}")} {
		if _, err := (DRBDConf{Texts: texts}).Read(""); !errors.Is(err, errDRBDConf) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDRBDConf(f *testing.F) {
	d, err := PackDRBDConf("h", conf.Memory{conf.Main: []byte("resource r { }")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(d.Texts)
	f.Fuzz(func(t *testing.T, texts []byte) {
		if c, err := (DRBDConf{Texts: texts}).Read("b:"); (c == nil) == (err == nil) {
			t.Errorf("%v beside %v", c, err)
		}
	})
}
