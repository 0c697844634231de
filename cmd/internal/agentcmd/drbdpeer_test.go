package agentcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/ha"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
	"kvmctl/ha/peer"
)

// drbdServer is another node's agent as far as drbd.conf goes. It gives its address, and what ends it.
func drbdServer(t *testing.T, id *peer.Identity, known peer.Node, answer func() (ha.DRBDConf, error)) (at string, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := peer.NewServer("test", nil)
	known.Addresses = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")} // no stranger to the gate
	s.Handle(peer.VerbDRBDConf, func(context.Context, peer.Node, json.RawMessage) (any, error) { return answer() })
	s.Use(id, []peer.Node{known})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	end = func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	return l.Addr().String(), end
}

func TestDRBDLintAsksThePeer(t *testing.T) {
	root := etc(t, map[string]string{"drbd.conf": drbdGood + drbdPair, "hostname": "a"})
	keys := filepath.Join(root, ha.StateDir, peer.Dir)
	here, err := peer.CreateIdentity(keys)
	there, err2 := peer.CreateIdentity(t.TempDir())
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	theirs := strings.Replace(drbdGood, "s3cr3t", "t0pping", 1) + drbdPair + "# was s3cr3t"
	at, end := drbdServer(t, there, peer.Node{Name: "a", Key: here.Public(), Role: peer.Member}, func() (ha.DRBDConf, error) {
		texts, err := conf.Share(conf.Memory{conf.Main: []byte(theirs)}, conf.Main)
		if err != nil {
			return ha.DRBDConf{}, err
		}
		return ha.PackDRBDConf("b", texts)
	})
	toml := fmt.Sprintf("node = \"a\"\n[peer.vm-b]\naddresses = [%q]\n[group.dns]\ninterface = \"eth0\"\nvhid = 1\naddresses = [\"10.0.0.9\"]\npassword = \"x\"\n", at)
	if err := os.WriteFile(filepath.Join(root, "etc/kvmha.toml"), []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(words ...string) (code int, all []lint.Finding, stderr string) {
		code, stdout, stderr := said(t, append([]string{"--root", root, "drbd", "lint", "--json"}, words...)...)
		if json.Unmarshal([]byte(stdout), &all) != nil {
			t.Fatalf("%s%s", stdout, stderr)
		}
		for _, secret := range []string{"s3cr3t", "t0pping", "sha256"} {
			if strings.Contains(stdout+stderr, secret) {
				t.Errorf("a secret is printed:\n%s%s", stdout, stderr)
			}
		}
		return code, all, stderr
	}
	if code, all, stderr := look(); code != 0 || len(all) != 1 || !strings.HasPrefix(stderr, "kvmha: not compared with vm-b: not paired with vm-b: kvmha --root ") {
		t.Errorf("not paired: exit %d, %v, %q", code, all, stderr)
	}
	if err := peer.SavePin(keys, "vm-b", peer.Pin{Key: there.Public()}); err != nil {
		t.Fatal(err)
	}
	code, all, stderr := look()
	if code != 1 || stderr != "" || len(all) != 2 || all[0].What != "resource r0: net shared-secret is (hidden) here, (hidden) at the peer" ||
		all[0].Position.String() != root+"/etc/drbd.conf:3:28" || all[0].Other.String() != "vm-b:/etc/drbd.conf:3:28" {
		t.Errorf("another secret: exit %d, %v, %q", code, all, stderr)
	}
	theirs = drbdGood + drbdPair + "resource r1 { on a { address 10.0.0.1:7790; } on b { address 10.0.0.2:7790; } }\n"
	if code, all, stderr := look(); code != 1 || stderr != "" || len(all) != 2 || all[0].What != "resource r1 is at the peer, not here" || all[0].Other.String() != "vm-b:/etc/drbd.conf:10:10" {
		t.Errorf("one more there: exit %d, %v, %q", code, all, stderr)
	}
	if code, all, stderr := look("--no-peer"); code != 0 || len(all) != 1 || stderr != "" {
		t.Errorf("nobody asked: exit %d, %v, %q", code, all, stderr)
	}
	theirs = "oops"
	if code, all, stderr := look(); code != 0 || len(all) != 1 || !strings.HasPrefix(stderr, "kvmha: not compared with vm-b: vm-b answers: /etc/drbd.conf:1:1: ") {
		t.Errorf("nothing to read there: exit %d, %v, %q", code, all, stderr)
	}
	end()
	if code, all, stderr := look(); code != 0 || len(all) != 1 || !strings.HasPrefix(stderr, "kvmha: not compared with vm-b: ") || !strings.Contains(stderr, "connection refused") {
		t.Errorf("gone: exit %d, %v, %q", code, all, stderr)
	}
}
