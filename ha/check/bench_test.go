package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/systemd/systemdtest"
	"kvmctl/internal/testenv"
)

func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOfAll is cpu with the programs that were run and have ended.
func cpuOfAll(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u); err != nil {
		b.Fatal(err)
	}
	return cpu(b) + time.Duration(u.Utime.Nano()+u.Stime.Nano())
}

// BenchmarkHundredChecks prints what a hundred checks at 1 s cost this process, in seconds of processor time a minute and in percent of one
// processor. What is asked runs in other processes.
//
//	KVM_TEST_TIERS=all go test -run '^$' -bench Hundred -benchtime 1x ./ha/check
func BenchmarkHundredChecks(b *testing.B) {
	testenv.Need(b, testenv.Netns, "named")
	pid := filepath.Join(b.TempDir(), "pid")
	if err := os.WriteFile(pid, fmt.Appendln(nil, os.Getppid()), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, kind := range []string{"nothing", "tcp", "tcp with a banner", "dns", "process", "systemd", "a mix"} {
		b.Run(kind, func(b *testing.B) {
			n, env := 100, Env{}
			var spec func(i int) Spec
			switch kind {
			case "nothing":
				n = 0
			case "tcp", "tcp with a banner":
				addr, _ := start(b, "banner")
				t := TCP{Address: addr}
				if kind != "tcp" {
					t.Expect = "220"
				}
				spec = func(int) Spec { return t }
			case "dns":
				addr, _ := bind(b, 1)
				spec = func(int) Spec { return DNS{Address: addr, Name: "www.example.org"} }
			case "a mix":
				dns, _ := bind(b, 1)
				addr, _ := start(b, "banner")
				sd := systemdtest.NewReal(b, map[string]string{"t@.service": "[Service]\nExecStart=/bin/sleep 1000\n"})
				env = withBus(b, sd)
				for i := range n / 4 {
					sd.Systemctl(b, "start", fmt.Sprintf("t@%d.service", i))
				}
				spec = func(i int) Spec {
					return []Spec{DNS{Address: dns, Name: "www.example.org"}, TCP{Address: addr}, Process{PIDFile: pid}, Systemd{fmt.Sprintf("t@%d.service", i/4)}}[i%4]
				}
			case "process":
				spec = func(int) Spec { return Process{PIDFile: pid} }
			case "systemd":
				sd := systemdtest.NewReal(b, map[string]string{"t@.service": "[Service]\nExecStart=/bin/sleep 1000\n"})
				env = withBus(b, sd)
				for i := range n {
					sd.Systemctl(b, "start", fmt.Sprintf("t@%d.service", i))
				}
				spec = func(i int) Spec { return Systemd{fmt.Sprintf("t@%d.service", i)} }
			}
			r := NewRunner(env, time.Now)
			for i := range n {
				if err := r.Add(Item{Name: fmt.Sprint(i), Policy: second, Spec: spec(i)}); err != nil {
					b.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error)
			go func() { done <- r.Run(ctx) }()
			time.Sleep(2 * time.Second) // all are green
			b.ResetTimer()
			const wall = 10 * time.Second
			used := -cpu(b)
			time.Sleep(wall)
			used += cpu(b)
			b.StopTimer()
			for _, s := range r.All() {
				if s.State != Green {
					b.Errorf("%+v", s)
				}
			}
			cancel()
			<-done
			b.ReportMetric(used.Seconds()*float64(time.Minute)/float64(wall), "cpu-s/min")
			b.ReportMetric(100*used.Seconds()/wall.Seconds(), "%cpu")
			b.ReportMetric(0, "ns/op")
		})
	}
}
