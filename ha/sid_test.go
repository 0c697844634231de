package ha

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"kvmctl/ha/check"
	"kvmctl/ha/peer"
)

// A check's question goes over the real channel to the handler of another agent, and comes back.
func TestSIDsOverTheChannel(t *testing.T) {
	here, err := peer.CreateIdentity(t.TempDir())
	there, err2 := peer.CreateIdentity(t.TempDir())
	l, err3 := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	want := check.SIDs{Local: "S-1-5-21-1-2-3", Domain: "S-1-5-21-4-5-6"}
	server := peer.NewServer("test", nil)
	server.Handle(peer.VerbSID, tellSIDs(check.NewSIDReader(time.Now, func(ctx context.Context) (check.SIDs, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("Samba's programs may take as long as they like")
		}
		return want, nil
	})))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()

	a := &Agent{}
	a.channel = &channel{a: a, client: peer.NewClient("test", here)}
	defer a.channel.client.Close()
	node := peer.Node{Name: "vm-olorin", Key: there.Public(), Role: peer.Member, Addresses: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}}
	a.channel.ring = peer.Keyring{Identity: here, Nodes: []peer.Node{node}}

	server.Use(there, []peer.Node{{Name: "olorin2", Key: here.Public(), Role: peer.Member}})
	if got, err := a.askSIDs(ctx, "vm-olorin"); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := a.askSIDs(ctx, "stranger"); err == nil || err.Error() != `there is no peer "stranger"` {
		t.Errorf("a stranger: %v", err)
	}
	server.Use(there, []peer.Node{{Name: "olorin2", Key: here.Public(), Role: peer.Arbiter}})
	a.channel.client.Close() // the connection was that of a member
	_, err = a.askSIDs(ctx, "vm-olorin")
	if answer, ok := errors.AsType[*peer.AnswerError](err); !ok || answer.Code != peer.CodeRefused {
		t.Errorf("an arbiter: %v", err)
	}
}
