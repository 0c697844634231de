package vm

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestListenersThatStandInTheWay(t *testing.T) {
	const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:170C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 00000000:170D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
   2: 0100007F:170C 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0
   3: 010200C0:170C 00000000:0000 0A
   4: XX00007F:170C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 444 1 0 100 0 0 10 0
`
	const tcp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:170C 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 555 1 0 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:170C 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 666 1 0 100 0 0 10 0
   2: 00000000000000000000000000000000:170D 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0
`
	tests := []struct {
		addr string
		want string
	}{
		{"127.0.0.1:5900", "111 666"}, {"127.0.0.2:5900", ""}, {"0.0.0.0:5900", "111 555 666"}, {"[::1]:5900", "555"},
		{"127.0.0.1:5901", "222 777"}, {"[::1]:5901", "222 777"}, {"127.0.0.1:5902", ""},
	}
	for _, tt := range tests {
		at := netip.MustParseAddrPort(tt.addr)
		got := append(parseListeners(tcp, at.Addr(), at.Port()), parseListeners(tcp6, at.Addr(), at.Port())...)
		slices.Sort(got)
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %q, want %q", tt.addr, s, tt.want)
		}
	}
}

func FuzzProcAddr(f *testing.F) {
	for _, s := range []string{"0100007F:170C", "00000000000000000000000001000000:170C", ":", "00:0", "0100007F:17000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, ok := parseProcAddr(s)
		if ok != at.Addr().IsValid() {
			t.Errorf("%q: %v, %t", s, at, ok)
		}
	})
}

func TestAPasswordThatTheProtocolWouldCutHasAPlace(t *testing.T) {
	for line, want := range map[string]string{
		"12345678":  "",
		"123456789": "/f:1:9: the password has 9 bytes, and the VNC protocol drops all after the eighth",
		"größere":   "/f:1:9: the password has 9 bytes, and the VNC protocol drops all after the eighth",
		"":          "/f: its first line is empty",
		"a\tb":      "/f:1:2: a control character in the password",
	} {
		got, err := parsePassword("/f", line)
		if want == "" {
			if got != line || err != nil {
				t.Errorf("%q: %q, %v", line, got, err)
			}
			continue
		}
		var bad *PasswordError
		if got != "" || !errors.As(err, &bad) || err.Error() != want {
			t.Errorf("%q: %q, %v", line, got, err)
		}
	}
}
