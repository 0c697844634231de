package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// over has a file stand at the place of another one, for this process and its children, until the test ends.
func over(t testing.TB, file, at string) {
	t.Helper()
	if err := unix.Mount(file, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mount %s over %s: %v", file, at, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

const (
	sidA = "S-1-5-21-3674554428-3143410812-2782548045"
	sidB = "S-1-5-21-1-2-3"
)

func sids(t testing.TB, s SID, ask SIDSource, timeout time.Duration) (string, Verdict, time.Duration) {
	t.Helper()
	p, err := s.Probe(Env{SIDs: ask})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	began := time.Now()
	a := answerOf(p.Ask(ctx))
	return a.Reason, a.Verdict, time.Since(began)
}

// The two controllers of a domain are Samba's own programs: the SIDs of the one are set as an admin would.
func TestSID(t *testing.T) {
	testenv.Need(t, testenv.Netns, "net", "smbd")
	_, conf := sambaConf(t, "server role = classic primary domain controller\n")
	over(t, conf, "/etc/samba/smb.conf")
	run(t, "net", "setlocalsid", sidA)
	run(t, "net", "setdomainsid", sidA)
	here, err := LocalSIDs(t.Context())
	if err != nil || here != (SIDs{Local: sidA, Domain: sidA}) {
		t.Fatalf("%+v, %v", here, err)
	}
	answer := func(s SIDs, err error) SIDSource {
		return func(_ context.Context, peer string) (SIDs, error) {
			if peer != "vm-olorin" {
				t.Errorf("%q was asked", peer)
			}
			return s, err
		}
	}
	for _, tt := range []struct {
		name    string
		ask     SIDSource
		only    bool
		want    string
		verdict Verdict
	}{
		{"alike", answer(here, nil), false, "", Pass},
		{"another domain", answer(SIDs{sidA, sidB}, nil), false, "the domain's SID is " + sidA + " here and " + sidB + " on vm-olorin: net setdomainsid, on the wrong one", Fail},
		{"another machine", answer(SIDs{sidB, sidA}, nil), false, "the local SID on vm-olorin is " + sidB + ", and not the domain's: there, net setlocalsid " + sidA, Fail},
		{"another machine of Active Directory", answer(SIDs{sidB, sidA}, nil), true, "", Pass},
		{"no domain there", answer(SIDs{Local: sidA}, nil), false, "net getdomainsid knows no domain on vm-olorin", Fail},
		{"the peer does not answer", answer(SIDs{}, errors.New("no route to host")), false, "vm-olorin does not tell its SIDs: no route to host", NoIdea},
		{"the peer answers garbage", answer(SIDs{"S-1-5-21-1; rm -rf /", sidA}, nil), false, "vm-olorin does not tell its SIDs: they are no SIDs", NoIdea},
		{"no agent", nil, false, "nobody here can ask vm-olorin", NoIdea},
	} {
		got, verdict, _ := sids(t, SID{Peer: "vm-olorin", DomainOnly: tt.only}, tt.ask, long)
		if got != tt.want || verdict != tt.verdict {
			t.Errorf("%s: got %q, %v; want %q, %v", tt.name, got, verdict, tt.want, tt.verdict)
		}
	}
	// The same two on both, but the machine's is not the domain's: wrong for both, where the one has to be the other.
	run(t, "net", "setlocalsid", sidB)
	got, verdict, _ := sids(t, SID{Peer: "vm-olorin"}, answer(SIDs{sidB, sidA}, nil), long)
	if want := "the local SID here is " + sidB + ", and not the domain's: net setlocalsid " + sidA; got != want || verdict != Fail {
		t.Errorf("got %q, %v; want %q", got, verdict, want)
	}
}

func TestSIDWithoutADomain(t *testing.T) {
	testenv.Need(t, testenv.Netns, "net", "smbd")
	_, conf := sambaConf(t, "server role = standalone server\n")
	over(t, conf, "/etc/samba/smb.conf")
	got, _, _ := sids(t, SID{Peer: "p"}, func(context.Context, string) (SIDs, error) { return SIDs{sidA, sidA}, nil }, long)
	if got != "net getdomainsid knows no domain here" {
		t.Errorf("got %q", got)
	}
}

// A net(8) that hangs, fails or says something else.
func TestSIDOfAnotherProgram(t *testing.T) {
	testenv.Need(t, testenv.Netns, "net")
	ask := func(context.Context, string) (SIDs, error) { return SIDs{sidA, sidA}, nil }
	for _, tt := range []struct {
		name, script, want string
		timeout            time.Duration
	}{
		{"hangs", "exec sleep 1000", `^net getlocalsid: .*no end after TIME, killed with its group$`, short},
		{"fails", "echo cannot open secrets.tdb; exit 255", `^net getlocalsid: exit 255: cannot open secrets.tdb$`, long},
		{"garbage", `printf '\001\377SID for is: S-1-5\n'`, `^net getlocalsid tells no SID: "\\x01\\xffSID for is: S-1-5\\n"$`, long},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script := filepath.Join(t.TempDir(), "net")
			if err := os.WriteFile(script, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			over(t, script, "/usr/bin/net")
			asked := func(timeout time.Duration) (string, Verdict, time.Duration) {
				return sids(t, SID{Peer: "p"}, ask, timeout)
			}
			if tt.timeout == short {
				lateAsked(t, tt.name, asked, tt.want, "ADDR")
				return
			}
			got, verdict, _ := asked(tt.timeout)
			says(t, tt.name, got, tt.want, "ADDR")
			if verdict != Fail {
				t.Errorf("verdict %v", verdict)
			}
		})
	}
}

// Many questions of peers run the programs once.
func TestSIDReader(t *testing.T) {
	testenv.Need(t, testenv.Netns, "net")
	dir := t.TempDir()
	script := filepath.Join(dir, "net")
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\necho >>%s/runs\necho 'SID for domain X is: %s'\n", dir, sidA), 0o755); err != nil {
		t.Fatal(err)
	}
	over(t, script, "/usr/bin/net")
	now := time.Unix(100, 0)
	r := NewSIDReader(func() time.Time { return now }, LocalSIDs)
	answers := make(chan string, 20)
	for range cap(answers) {
		go func() {
			s, err := r.Read(t.Context())
			answers <- fmt.Sprint(s, err)
		}()
	}
	for range cap(answers) {
		if got, want := <-answers, fmt.Sprint(SIDs{sidA, sidA}, error(nil)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	now = now.Add(sidsFor)
	if _, err := r.Read(t.Context()); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "runs"))
	if runs := strings.Count(string(b), "\n"); err != nil || runs != 4 { // two programs, twice
		t.Errorf("%d runs, %v", runs, err)
	}
}

func FuzzSIDs(f *testing.F) {
	f.Add([]byte("SID for local machine OLORIN is: " + sidA + "\nSID for domain OFFICE is: " + sidB + "\n"))
	f.Add([]byte("Could not fetch domain SID\n"))
	f.Add([]byte("SID for domain  is: S-1-5-21-99999999999\nSID for domain X is: S-1-5"))
	f.Fuzz(func(t *testing.T, out []byte) {
		for _, s := range parseSIDs(out) {
			if !sid.MatchString(s) {
				t.Errorf("%q", s)
			}
		}
	})
}

func TestSIDsParsed(t *testing.T) {
	for _, tt := range []struct{ name, out, domain, machine string }{
		{"Samba 4.17, net getdomainsid on a controller", "SID for local machine OLORIN is: " + sidA + "\nSID for domain OFFICE is: " + sidB + "\n", sidB, sidA},
		{"Samba 4.17, net getlocalsid", "SID for domain OLORIN is: " + sidA + "\n", sidA, ""},
		{"Samba 4.17, a standalone server", "Could not fetch domain SID\nSID for local machine OLORIN is: " + sidA + "\n", "", sidA},
		{"a warning before it", "Weak crypto is allowed\nSID for domain A B is: " + sidA + "\r\n", sidA, ""},
		{"no SID", "SID for domain X is: S-1-5-21-x\n", "", ""},
	} {
		if got := parseSIDs([]byte(tt.out)); got[ofDomain] != tt.domain || got[ofMachine] != tt.machine {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func BenchmarkSID(b *testing.B) {
	testenv.Need(b, testenv.Netns, "net", "smbd")
	_, conf := sambaConf(b, "server role = classic primary domain controller\n")
	over(b, conf, "/etc/samba/smb.conf")
	for b.Loop() {
		if _, err := LocalSIDs(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
