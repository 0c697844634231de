package ha

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestControlSocket(t *testing.T) {
	for _, name := range []string{"run", strings.Repeat("long", 40)} {
		t.Run(name, func(t *testing.T) { controlSocket(t, filepath.Join(t.TempDir(), name)) })
	}
}

func controlSocket(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "kvmha.sock")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var none *NotRunningError
	if _, err := Ask(ctx, path, Request{Verb: VerbStatus}); !errors.As(err, &none) || none.Error() != "no kvmha runs here: nobody listens at "+path {
		t.Errorf("with nobody there: %v", err)
	}
	l, err := ListenControl(ctx, dir, path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveControl(l, func(r Request) Reply {
			return Reply{Status: &Status{Node: "a", Groups: []GroupStatus{{Name: strings.Join(r.Groups, "+")}}}}
		})
	}()
	defer func() { l.Close(); <-served }()
	if _, err := ListenControl(ctx, dir, path); !errors.Is(err, ErrRunning) {
		t.Errorf("a second agent: %v", err)
	}
	got, err := Ask(ctx, path, Request{Verb: VerbStatus, Groups: []string{"web", "dns"}})
	if want := (Reply{Version: 1, Status: &Status{Node: "a", Groups: []GroupStatus{{Name: "web+dns"}}}}); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	short, done, err := shortSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, c := range []struct{ name, line, want string }{
		{"not JSON", "status\n", "decode a line: invalid character 's' looking for beginning of value"},
		{"an unknown key", `{"version":1,"verb":"status","grups":[]}` + "\n", `decode a line: json: unknown field "grups"`},
		{"two values", `{"version":1}{}` + "\n", "decode a line: there is more behind its value"},
		{"another version", `{"version":2,"verb":"status"}` + "\n", "the command speaks version 2, the agent 1"},
		{"too long", `{"version":1,"who":"` + strings.Repeat("x", maxRequest) + "\"}\n", "the line is too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("unix", short)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go conn.Write([]byte(c.line)) // the agent does not read all of the long one
			var r Reply
			if err := readLine(conn, maxReply, &r); err != nil || r.Error != c.want {
				t.Errorf("%v, %q", err, r.Error)
			}
		})
	}
	if len(dir) > maxSocket {
		return // the rest does not depend on the path
	}
	t.Run("clients that say nothing do not keep others out for long", func(t *testing.T) {
		for range maxClients {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		begin := time.Now()
		if _, err := Ask(ctx, path, Request{Verb: VerbStatus}); err != nil || time.Since(begin) > 2*controlWait {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

func FuzzRequestsAreReadStrictly(f *testing.F) {
	f.Add([]byte(`{"version":1,"verb":"switch","groups":["web"],"on":true,"who":"root"}` + "\n"))
	f.Add([]byte("{}\n"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var r Request
		if err := readLine(strings.NewReader(string(line)), maxRequest, &r); err == nil && len(line) > maxRequest {
			t.Errorf("%d bytes were read", len(line))
		}
	})
}

// A socket that cannot be asked is not one that nobody listens at: whoever does keeps it.
func TestASocketThatCannotBeAskedIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kvmha.sock")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}) // connect(2) gives EPROTOTYPE
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := ListenControl(t.Context(), dir, path)
	if !errors.Is(err, syscall.EPROTOTYPE) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// What a group was asked for and cannot answer any more is answered when it ends, and forgotten.
func TestAWishEndsWithItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := (&wire{}).add(1)
		a, g, _ := still(t, n, testGroup(0))
		q := asked{Request{Verb: VerbSwitch}, make(chan Reply, 1)}
		a.wish(g, q)
		a.remove(g)
		select {
		case r := <-q.reply:
			if r.Error != "the group ends here" {
				t.Errorf("%+v", r)
			}
		default:
			t.Error("nobody answers")
		}
		if len(a.wishes) != 0 {
			t.Errorf("%d wishes are left", len(a.wishes))
		}
	})
}
