package check

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/systemd/systemdtest"
	"kvmctl/internal/testenv"
)

// servers are what a mix of checks asks: real programs, in this network.
type servers struct {
	dns, web, https, smtp, smtps string // addresses
	ldap, ldaps                  string
	webCA, mailCA, ldapCA        string
	sd                           *systemdtest.Real
	pids                         string // a directory with the pidfiles of the units t@0.service …
}

// haveUnits is how many units of systemd's there are, each with a process of its own.
const haveUnits = 25

func serveAll(b *testing.B) (s servers) {
	testenv.Need(b, testenv.Netns, "named", "nginx", "exim4", "slapd")
	s.pids = b.TempDir()
	s.dns, _ = bind(b, 1)
	var dir string
	s.web, s.https, dir, _ = nginx(b)
	s.webCA = filepath.Join(dir, "ca.pem")
	s.smtp, s.smtps, dir, _ = exim(b, time.Now().Add(time.Hour), "tls_advertise_hosts = *\nsmtp_accept_max = 0")
	s.mailCA = filepath.Join(dir, "ca.pem")
	d := slapd(b, time.Now().Add(time.Hour))
	s.ldap, s.ldaps, s.ldapCA = d.plain, d.secure, filepath.Join(d.dir, "ca.pem")
	s.sd = systemdtest.NewReal(b, map[string]string{
		"t@.service": fmt.Sprintf("[Service]\nExecStart=/bin/sh -c 'echo $$$$ >%s/%%i; exec sleep 100000'\n", s.pids)})
	for i := range haveUnits {
		s.sd.Systemctl(b, "start", fmt.Sprintf("t@%d.service", i))
	}
	return s
}

// of gives the text of the n-th check of a kind in kvmha.toml.
func (s servers) of(kind string, n int) string {
	switch kind {
	case "tcp":
		return fmt.Sprintf("type = \"tcp\"\ntarget = %q\n", s.web)
	case "dns":
		return fmt.Sprintf("type = \"dns\"\ntarget = %q\nquery = \"www.example.org\"\n", s.dns)
	case "process":
		return fmt.Sprintf("type = \"process\"\npidfile = %q\n", filepath.Join(s.pids, strconv.Itoa(n%haveUnits)))
	case "systemd":
		return fmt.Sprintf("type = \"systemd\"\nunit = \"t@%d.service\"\n", n%haveUnits)
	case "https":
		return fmt.Sprintf("type = \"http\"\ntarget = %q\ntls = \"implicit\"\nca_file = %q\nhost = \"www.example.org\"\n", s.https, s.webCA)
	case "ldaps":
		return fmt.Sprintf("type = \"ldap\"\ntarget = %q\ntls = \"implicit\"\nca_file = %q\nserver_name = \"ldap.example.org\"\n", s.ldaps, s.ldapCA)
	case "smtp STARTTLS":
		return fmt.Sprintf("type = \"smtp\"\ntarget = %q\ntls = \"starttls\"\nca_file = %q\nserver_name = \"mail.example.org\"\n", s.smtp, s.mailCA)
	}
	panic(kind)
}

// BenchmarkAgent prints what the program $KVMHA costs with a hundred checks at 1 s, in percent of one processor by the scheduler's account, and in
// resident memory. Its group is active on a card of this network. What is asked runs in other processes.
//
//	KVM_TEST_TIERS=all KVMHA=$PWD/bin/kvmha go test -run '^$' -bench Agent -benchtime 1x ./ha/check
func BenchmarkAgent(b *testing.B) {
	bin := os.Getenv("KVMHA")
	if bin == "" {
		b.Skip("KVMHA names no program")
	}
	s := serveAll(b)
	cable(b, "near0", "far0")
	for _, bb := range []struct {
		name  string
		kinds []string
	}{
		{"no checks", nil},
		{"a mix", []string{"tcp", "dns", "process", "systemd"}},
		{"a mix with TLS", []string{"https", "ldaps", "smtp STARTTLS"}},
		{"tcp", []string{"tcp"}}, {"dns", []string{"dns"}}, {"process", []string{"process"}}, {"systemd", []string{"systemd"}},
		{"https", []string{"https"}}, {"ldaps", []string{"ldaps"}}, {"smtp STARTTLS", []string{"smtp STARTTLS"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			text := "[group.web]\ninterface = \"near0\"\nvhid = 42\naddresses = [\"10.7.0.40\"]\npassword = \"tpri\"\ncarrier_up_delay = \"0s\"\n"
			checks := 0
			for i := range 100 {
				if len(bb.kinds) > 0 {
					text += fmt.Sprintf("[[group.web.check]]\nname = \"c%d\"\ninterval = \"1s\"\n%s", i, s.of(bb.kinds[i%len(bb.kinds)], i/len(bb.kinds)))
					checks++
				}
			}
			p := startAgent(b, bin, s.sd.Socket, text)
			p.green(b, checks)
			time.Sleep(5 * time.Second) // it has settled
			const windows, window = 3, 10 * time.Second
			var used []time.Duration // a second
			for range windows {
				began, before := time.Now(), p.cpu(b)
				time.Sleep(window)
				used = append(used, time.Duration(float64(p.cpu(b)-before)/time.Since(began).Seconds()))
			}
			p.green(b, checks)
			rss, pss := p.memory(b)
			b.ReportMetric(100*median(used).Seconds(), "%cpu")
			b.ReportMetric(100*slices.Max(used).Seconds(), "%cpu-worst")
			b.ReportMetric(rss, "MiB")
			b.ReportMetric(pss, "MiB-PSS")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// agentProcess is a kvmha run.
type agentProcess struct {
	bin, root string
	pid       int
}

// startAgent starts one whose systemd is the one of this socket. It ends with the benchmark.
func startAgent(b *testing.B, bin, socket, text string) agentProcess {
	b.Helper()
	root, err := os.MkdirTemp("", "ha") // a socket's path has no room for the test's name
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		b.Fatal(err)
	}
	write(b, filepath.Join(root, "etc/kvmha.toml"), text)
	var said lockedBuffer
	cmd := exec.Command("unshare", "--mount", "sh", "-c",
		`mount -t tmpfs none /run && mkdir -p /run/systemd/system && ln -s "$0" /run/systemd/private && exec "$@"`, socket, bin, "--root", root, "run")
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		if b.Failed() {
			b.Logf("kvmha said:\n%s", said.String())
		}
	})
	return agentProcess{bin, root, cmd.Process.Pid}
}

// green waits until its group is active and has so many checks, all of them green.
func (p agentProcess) green(b *testing.B, checks int) {
	b.Helper()
	var said []byte
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		var status struct {
			Groups []struct {
				Role   string
				Checks []struct{ State string }
			}
		}
		said, _ = exec.Command(p.bin, "--root", p.root, "status", "--json").Output()
		if json.Unmarshal(said, &status) == nil && len(status.Groups) == 1 && status.Groups[0].Role == "active" {
			n := 0
			for _, c := range status.Groups[0].Checks {
				if c.State == "green" {
					n++
				}
			}
			if n == checks {
				return
			}
		}
		if time.Now().After(deadline) {
			b.Fatalf("never active with %d green checks: %.2000s", checks, said)
		}
	}
}

// cpu is what its threads have used, by the scheduler's account: /proc/PID/stat counts whole hundredths of a second.
func (p agentProcess) cpu(b *testing.B) (used time.Duration) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	if err != nil || len(threads) == 0 {
		b.Fatal("it has no threads", err)
	}
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if err != nil {
			b.Fatal(err)
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err != nil { // the first of three numbers
			b.Fatal(err)
		}
		used += time.Duration(ns)
	}
	return used
}

// memory gives what is resident of it, and its share of that, in MiB.
func (p agentProcess) memory(b *testing.B) (rss, pss float64) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "Rss: %f kB", &kib); n == 1 {
			rss = kib / 1024
		}
		if n, _ := fmt.Sscanf(line, "Pss: %f kB", &kib); n == 1 {
			pss = kib / 1024
		}
	}
	return rss, pss
}

// BenchmarkProbe prints what one question of each kind costs this process and the programs that it runs, and how long it takes, against the real server. Between questions there is a
// pause, as there is in an agent: caches are as cold.
//
//	KVM_TEST_TIERS=all go test -run '^$' -bench Probe -benchtime 1x ./ha/check
func BenchmarkProbe(b *testing.B) {
	testenv.Need(b, testenv.Netns, "smbd", "smbpasswd", "dhcpd", "net")
	s := serveAll(b)
	env := withBus(b, s.sd)
	env.SIDs = func(context.Context, string) (SIDs, error) { return SIDs{sidA, sidA}, nil }
	smb := smbd(b, "map to guest = bad user\n")
	dhcp := lay(b)
	dhcpd(b, dhcp.away, dhcp.there, "")
	_, conf := sambaConf(b, "server role = classic primary domain controller\n")
	over(b, conf, "/etc/samba/smb.conf")
	run(b, "net", "setlocalsid", sidA)
	run(b, "net", "setdomainsid", sidA)
	for _, bb := range []struct {
		name string
		spec Spec
	}{
		{"tcp", TCP{Address: s.web}},
		{"tcp that expects a greeting", TCP{Address: s.smtp, Expect: "220"}},
		{"dns", DNS{Address: s.dns, Name: "www.example.org"}},
		{"dns by TCP", DNS{Address: s.dns, Name: "www.example.org", TCP: true}},
		{"http", HTTP{Address: s.web, Host: "www.example.org"}},
		{"https", HTTP{Address: s.https, TLS: TLSImplicit, CAFile: s.webCA, Host: "www.example.org"}},
		{"smtp", SMTP{Address: s.smtp}},
		{"smtp STARTTLS", SMTP{Address: s.smtp, TLS: TLSStart, CAFile: s.mailCA, ServerName: "mail.example.org"}},
		{"ldap", LDAP{Address: s.ldap}},
		{"ldap with a search", LDAP{Address: s.ldap, BindDN: adminDN, Password: word("secret"), Base: base}},
		{"ldaps", LDAP{Address: s.ldaps, TLS: TLSImplicit, CAFile: s.ldapCA, ServerName: "ldap.example.org"}},
		{"smb, a guest", SMB{Address: smb.addr, Session: SMBGuest}},
		{"smb, a user and a file", SMB{Address: smb.addr, Session: SMBUser, User: "root", Password: word("secret"), Share: "staff", File: "secret.txt"}},
		{"dhcp", DHCP{Address: "10.9.0.1:67"}},
		{"ping", Ping{Address: "127.0.0.1"}},
		{"arp", ARP{Interface: dhcp.here, Address: "10.9.0.1"}},
		{"disk", Disk{Path: "/"}},
		{"process", Process{PIDFile: filepath.Join(s.pids, "0")}},
		{"systemd", Systemd{"t@0.service"}},
		{"exec of /bin/true", Exec{Command: []string{"/bin/true"}}},
		{"sid", SID{Peer: "other"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p, err := bb.spec.Probe(env)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			if pu, ok := p.(Pusher); ok {
				pu.Push(func() {})
			}
			ask := func() error {
				ctx, cancel := context.WithTimeout(b.Context(), long)
				defer cancel()
				return p.Ask(ctx)
			}
			for deadline := time.Now().Add(long); ; time.Sleep(10 * time.Millisecond) { // a server may need a moment
				if err = ask(); err == nil {
					break
				}
				if time.Now().After(deadline) {
					b.Fatal(err)
				}
			}
			const questions = 30
			var wall, used []time.Duration
			for range questions {
				time.Sleep(50 * time.Millisecond)
				began, before := time.Now(), cpuOfAll(b)
				if err := ask(); err != nil {
					b.Fatal(err)
				}
				wall, used = append(wall, time.Since(began)), append(used, cpuOfAll(b)-before)
			}
			b.ReportMetric(float64(median(used).Nanoseconds())/1000, "cpu-µs")
			b.ReportMetric(float64(median(wall).Nanoseconds())/1000, "µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(all []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(all))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// BenchmarkDeath prints how long it is from kill −9 of a named, which is a unit of a systemd, until its checks are red: what systemd and the kernel tell,
// and a probe that asks every second.
//
//	KVM_TEST_TIERS=all go test -run '^$' -bench Death -benchtime 1x ./ha/check
func BenchmarkDeath(b *testing.B) {
	testenv.Need(b, testenv.Netns, "named")
	addr, argv := bindCommand(b, 1)
	pidfile := filepath.Join(b.TempDir(), "pid")
	sd := systemdtest.NewReal(b, map[string]string{
		"named.service": fmt.Sprintf("[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'echo $$$$ >%s; exec %s'\n", pidfile, strings.Join(argv, " "))})
	sd.Systemctl(b, "start", "named.service")
	r := NewRunner(withBus(b, sd), time.Now)
	specs := map[string]Spec{"systemd": Systemd{"named.service"}, "process": Process{PIDFile: pidfile}, "dns": DNS{Address: addr, Name: "www.example.org"}}
	for name, spec := range specs {
		if err := r.Add(Item{Name: name, Policy: Policy{Interval: time.Second, Timeout: time.Second, Fall: 3, Rise: 1}, Spec: spec}); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	all := func(state State) []Status {
		b.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			if got := r.All(); !slices.ContainsFunc(got, func(s Status) bool { return s.State != state }) {
				return got
			}
			select {
			case <-r.News():
			case <-time.After(time.Until(deadline)):
				b.Fatalf("not all are %v: %+v", state, r.All())
			}
		}
	}
	const kills = 12
	after := map[string][]time.Duration{}
	for i := range kills {
		all(Green)
		time.Sleep(time.Duration(i) * time.Second / kills) // at any phase of the interval
		var pid int
		if _, err := fmt.Sscan(sd.Systemctl(b, "show", "--value", "-p", "MainPID", "named.service"), &pid); err != nil || pid == 0 {
			b.Fatal(pid, err)
		}
		killed := time.Now()
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			b.Fatal(err)
		}
		for _, s := range all(Red) {
			after[s.Name] = append(after[s.Name], s.Since.Sub(killed))
		}
		sd.Systemctl(b, "start", "named.service")
	}
	for _, name := range []string{"systemd", "process", "dns"} {
		b.Run(name, func(b *testing.B) {
			b.ReportMetric(float64(median(after[name]).Microseconds())/1000, "ms")
			b.ReportMetric(float64(slices.Max(after[name]).Microseconds())/1000, "ms-worst")
			b.ReportMetric(0, "ns/op")
		})
	}
}
