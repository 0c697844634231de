package qmp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
	"kvmctl/vm/qmp"
	"kvmctl/vm/qmp/qmptest"
)

// inGuest runs f in virtual time with a synchronized client of a model of qemu-ga.
func inGuest(t *testing.T, f func(t *testing.T, p *qmptest.Agent, a *qmp.Agent), opts ...qmp.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, conn := qmptest.NewAgent(false)
		defer p.Close()
		a, err := qmp.NewAgent(t.Context(), conn, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		f(t, p, a)
	})
}

func wantCommands(t *testing.T, got []string, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAgentIsSynchronizedBeforeTheFirstCommand(t *testing.T) {
	inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
		for range 2 {
			if err := a.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wantCommands(t, p.Commands(), "guest-sync-delimited", "guest-ping", "guest-ping")
	})
}

func TestAbsentAgentIsFoundOutAndGetsNoShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, conn := qmptest.NewAgent(true)
		defer p.Close()
		_, err := qmp.NewAgent(t.Context(), conn)
		wantError(t, err, "the guest agent does not answer: no answer to a sync after 1s: context deadline exceeded", qmp.ErrNoAgent, context.DeadlineExceeded)
	})
}

func TestStaleAndGarbageBytesBeforeTheSync(t *testing.T) {
	for name, before := range map[string]string{
		"half an answer":                `{"return": {"x": `,
		"an old answer":                 "{\"return\": {}}\n",
		"an old answer to another sync": "\xff{\"return\": 12345}\n",
		"an error":                      "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n",
		"binary":                        "\x00\xfe\xff\xff\n\n\r\n",
		"a line longer than the bound":  strings.Repeat("x", 100) + "\n",
		"a bomb without an end":         strings.Repeat("{", 200),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, conn := qmptest.NewAgent(false)
				defer p.Close()
				p.On("guest-sync-delimited", qmptest.Garbage(before))
				a, err := qmp.NewAgent(t.Context(), conn, qmp.MaxLine(64))
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				if err := a.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestHalfACommandOfAnEarlierClientIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, conn := qmptest.NewAgent(false)
		defer p.Close()
		if _, err := io.WriteString(conn, `{"execute": "guest-sh`); err != nil {
			t.Fatal(err)
		}
		a, err := qmp.NewAgent(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		wantCommands(t, p.Commands(), "guest-sync-delimited")
	})
}

func TestFloodInPlaceOfASync(t *testing.T) {
	for name, chunk := range map[string]string{"lines": strings.Repeat("x", 1<<16) + "\n", "one line": strings.Repeat("x", 1<<16)} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			var wg sync.WaitGroup
			wg.Go(func() { io.Copy(io.Discard, theirs) })
			wg.Go(func() {
				for err := error(nil); err == nil; {
					_, err = io.WriteString(theirs, chunk)
				}
			})
			defer wg.Wait()
			defer theirs.Close()
			_, err := qmp.NewAgent(within(t, time.Minute), ours, qmp.MaxLine(64<<10))
			if !errors.As(err, new(*qmp.ProtocolError)) || !errors.Is(err, qmp.ErrClosed) {
				t.Errorf("error %v, want a protocol error", err)
			}
		})
	}
}

func TestCommandAfterALateAnswerGetsItsOwn(t *testing.T) {
	inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
		p.Interfaces = `[{"name": "eth0"}]`
		p.On("guest-network-get-interfaces", qmptest.Late())
		_, err := a.NetworkInterfaces(t.Context())
		wantError(t, err, `run "guest-network-get-interfaces" in the guest: no answer after 5s: context deadline exceeded`, context.DeadlineExceeded)
		// The late answer comes now, before that of the sync.
		if err := a.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCommands(t, p.Commands(), "guest-sync-delimited", "guest-network-get-interfaces", "guest-sync-delimited", "guest-ping")
	})
}

func TestAgentThatWentSilent(t *testing.T) {
	inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
		p.On("guest-ping", qmptest.Stall())
		p.On("guest-sync-delimited", qmptest.Stall())
		wantError(t, a.Ping(t.Context()), `run "guest-ping" in the guest: no answer after 1s: context deadline exceeded`, context.DeadlineExceeded)
		wantError(t, a.Shutdown(t.Context(), qmp.Powerdown),
			`run "guest-shutdown" in the guest: the guest agent does not answer: no answer to a sync after 5s: context deadline exceeded`, qmp.ErrNoAgent)
		wantCommands(t, p.Commands(), "guest-sync-delimited", "guest-ping", "guest-sync-delimited")
		if err := a.Ping(t.Context()); err != nil {
			t.Errorf("after the agent came back: %v", err)
		}
	})
}

func TestShutdown(t *testing.T) {
	inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
		start := time.Now()
		if err := a.Shutdown(t.Context(), qmp.Powerdown); err != nil || p.Down() != "powerdown" {
			t.Fatalf("%v, down %q", err, p.Down())
		}
		if d := time.Since(start); d != 500*time.Millisecond {
			t.Errorf("waited %v for a refusal", d)
		}
		if err := a.Ping(t.Context()); err != nil {
			t.Errorf("a guest that is slow to go down: %v", err)
		}
	})
	t.Run("a deadline before the end of the wait", func(t *testing.T) {
		inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := a.Shutdown(ctx, qmp.Halt); err != nil || p.Down() != "halt" {
				t.Errorf("%v, down %q", err, p.Down())
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			wantError(t, a.Shutdown(ctx, qmp.Halt), `run "guest-shutdown" in the guest: context canceled`, context.Canceled)
		})
	})
	t.Run("refused", func(t *testing.T) {
		inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
			p.On("guest-shutdown", qmptest.Refuse("CommandNotFound", "Command guest-shutdown has been disabled"))
			wantError(t, a.Shutdown(t.Context(), qmp.Powerdown), `run "guest-shutdown" in the guest: CommandNotFound: Command guest-shutdown has been disabled`)
		})
	})
	t.Run("the guest is gone at once", func(t *testing.T) {
		inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
			p.On("guest-shutdown", qmptest.Reset())
			if err := a.Shutdown(t.Context(), qmp.Reboot); err != nil {
				t.Error(err)
			}
			wantError(t, a.Ping(t.Context()), `run "guest-ping" in the guest: QMP connection closed: EOF`, qmp.ErrClosed, io.EOF)
		})
	})
}

func TestAgentErrorsEndTheConnectionOrNot(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault qmptest.Fault
		text  string
		is    error
	}{
		{"refused", qmptest.Refuse("GenericError", "no\x1b[2J"), "no\uFFFD[2J", nil},
		{"half an answer, then the end", qmptest.Truncate(), "QMP connection closed: EOF", qmp.ErrClosed},
		{"an answer longer than the bound", qmptest.Big(4096), "QMP connection closed: protocol error after N bytes: a line longer than 2048 bytes", qmp.ErrClosed},
		{"no JSON", qmptest.Garbage("hunter2\n"), "QMP connection closed: protocol error after N bytes: a line that is no JSON object", qmp.ErrClosed},
		{"an event", qmptest.Garbage("{\"event\": \"X\"}\n"), "QMP connection closed: protocol error after N bytes: no answer but another line", qmp.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
				p.On("guest-ping", tt.fault)
				err := a.Ping(t.Context())
				if tt.is == nil {
					wantError(t, err, `run "guest-ping" in the guest: `+tt.text)
					if err := a.Ping(t.Context()); err != nil {
						t.Error(err)
					}
					return
				}
				// The number of the sync, and with it the offset, has a length of its own.
				text := regexp.MustCompile(`after \d+ bytes`).ReplaceAllString(fmt.Sprint(err), "after N bytes")
				if text != `run "guest-ping" in the guest: `+tt.text || !errors.Is(err, tt.is) {
					t.Errorf("error %v", err)
				}
				if again := a.Ping(t.Context()); again == nil || again.Error() != err.Error() {
					t.Errorf("then %v", again)
				}
			}, qmp.MaxLine(2048))
		})
	}
}

func TestSecretsForTheGuestAreBlanked(t *testing.T) {
	inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
		p.On("guest-set-user-password", qmptest.Refuse("GenericError", "bad aHVudGVyMg=="))
		err := a.Execute(t.Context(), "guest-set-user-password", map[string]any{"username": "root", "password": "aHVudGVyMg==", "crypted": false}, nil)
		wantError(t, err, `run "guest-set-user-password" in the guest: bad ***`)
	})
}

func TestSpeakersTakeTurns(t *testing.T) {
	inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if err := a.Ping(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		p.On("guest-ping", qmptest.Stall())
		wg.Go(func() { a.Ping(context.Background()) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		wantError(t, a.Ping(ctx), `run "guest-ping" in the guest: an earlier command is under way after 1ms: context deadline exceeded`)
		wg.Wait()
	})
}

func TestNetworkInterfacesAndTheAddressesOfAMAC(t *testing.T) {
	inGuest(t, func(t *testing.T, p *qmptest.Agent, a *qmp.Agent) {
		p.Interfaces = `[
 {"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}]},
 {"name": "eth0\u001b", "hardware-address": "52:54:00:12:34:56", "ip-addresses": [
   {"ip-address": "fe80::5054:ff:fe12:3456%eth0", "ip-address-type": "ipv6", "prefix": 64},
   {"ip-address": "2001:db8::7", "ip-address-type": "ipv6", "prefix": 64},
   {"ip-address": "not an address", "prefix": 1},
   {"ip-address": "10.0.0.8", "prefix": 99},
   {"ip-address": "10.0.0.7", "ip-address-type": "ipv4", "prefix": 24}]},
 {"name": "sit0"}]`
		p.Interfaces = strings.ReplaceAll(p.Interfaces, "\n", "")
		ifs, err := a.NetworkInterfaces(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mac := units.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
		want := []qmp.Interface{
			{Name: "lo", Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
			{Name: "eth0\uFFFD", MAC: mac, Addrs: []netip.Prefix{netip.MustParsePrefix("fe80::5054:ff:fe12:3456/64"),
				netip.MustParsePrefix("2001:db8::7/64"), netip.MustParsePrefix("10.0.0.7/24")}},
			{Name: "sit0"},
		}
		same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
		if d := cmp.Diff(want, ifs, same); d != "" {
			t.Error(d)
		}
		addrs := []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("2001:db8::7")}
		if d := cmp.Diff(addrs, qmp.Addresses(ifs, mac), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Error(d)
		}
		if got := qmp.Addresses(ifs, units.MAC{}); got != nil {
			t.Errorf("addresses of no MAC: %v", got)
		}
	})
}
