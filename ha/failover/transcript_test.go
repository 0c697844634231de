package failover

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plain is the group of the transcripts: two units, a check of the service, and one of the way to the gateway.
func plain() Config {
	return Config{
		Name: "web", Order: []Stage{StageUnits, StageChecks, StageAddress, StageAnnounce, StageHooks},
		Units: []Unit{{"db", 30 * time.Second, 20 * time.Second}, {"httpd", 30 * time.Second, 20 * time.Second}},
		Checks: []Check{
			{Name: "http", ActiveOnly: true, Unit: "httpd", Settle: 3 * time.Second}, {Name: "gateway", Settle: 3 * time.Second},
		},
		Probe: true, Dead: 3 * time.Second, PreemptDelay: 10 * time.Second,
		Restarts: 1, RestartWindow: 10 * time.Minute, Remind: 4 * time.Hour,
		Damping: Damping{Min: time.Second, Max: 5 * time.Minute, Moves: 2, Window: 10 * time.Minute},
	}
}

// TestTranscripts runs the scripts of testdata/transcript: commands, "----", what the machine answers. A file's first lines say what it shows.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcript/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := perform(string(want))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				err = os.WriteFile(file, []byte(got), 0o644)
			} else if !bytes.Equal(want, []byte(got)) {
				t.Errorf("is now\n%s", got)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// perform runs a script and gives it with the answers of today.
func perform(script string) (string, []Effect, error) {
	var out strings.Builder
	cfg := plain()
	var b *bench
	var answers []string
	for block := range strings.SplitSeq(strings.TrimRight(script, "\n"), "\n\n") {
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		answers = nil
		for line := range strings.SplitSeq(block, "\n") {
			if line == "----" {
				break
			}
			fmt.Fprintln(&out, line)
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			if b == nil && strings.HasPrefix(line, "config ") {
				if err := configure(&cfg, strings.Fields(line)[1:]); err != nil {
					return "", nil, fmt.Errorf("%s: %w", line, err)
				}
				continue
			}
			if b == nil {
				b = newBench(cfg)
				b.log = func(d time.Duration, e Effect) { answers = append(answers, fmt.Sprintf("%v %v", d, e)) }
			}
			if err := b.command(line, &answers); err != nil {
				return "", nil, fmt.Errorf("%s: %w", line, err)
			}
		}
		if b != nil {
			fmt.Fprintln(&out, "----")
			for _, a := range answers {
				fmt.Fprintln(&out, a)
			}
		}
	}
	return out.String(), b.all, nil
}

func configure(cfg *Config, words []string) error {
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		d, _ := time.ParseDuration(value)
		switch key {
		case "order":
			cfg.Order = nil
			for s := range strings.SplitSeq(value, ",") {
				cfg.Order = append(cfg.Order, Stage(s))
			}
		case "units":
			cfg.Units = cfg.Units[:n]
		case "checks":
			cfg.Checks = cfg.Checks[:n]
		case "tells-only":
			cfg.Checks = append(cfg.Checks, Check{Name: value, TellsOnly: true})
		case "restarts":
			cfg.Restarts = n
		case "hooks":
			cfg.Hooks = Hooks{Active: true, Standby: true, Waiting: true, Timeout: 10 * time.Second}
		case "preempt":
			cfg.Preempt = true
		case "stay":
			cfg.Stay = true
		case "probe":
			cfg.Probe = value == "on"
		case "remind":
			cfg.Remind = d
		case "storage": // the file server: two resources, of which one is mounted
			cfg.Order = append([]Stage{StageDRBD, StageMounts}, cfg.Order...)
			cfg.Resources = []Resource{{"r0", 90 * time.Second, 10 * time.Second, 10 * time.Second}, {"r1", 90 * time.Second, 10 * time.Second, 10 * time.Second}}
			cfg.Mounts = []Mount{{"/srv", time.Minute, 30 * time.Second}}
			cfg.RightTimeout = time.Minute
		case "ignore-carrier":
			cfg.IgnoreCarrier = true
		default:
			return fmt.Errorf("unknown key")
		}
	}
	return nil
}

// command does one line of a script.
func (b *bench) command(line string, answers *[]string) error {
	words := strings.Fields(line)
	arg := func(n int) string {
		if n < len(words) {
			return words[n]
		}
		return ""
	}
	rest := func(n int) string { return strings.Join(words[min(n, len(words)):], " ") }
	good := arg(1) == "on" || arg(1) == "up"
	addr := netip.MustParseAddr("10.2.0.10")
	switch words[0] {
	case "fit":
		b.fit()
	case "advance":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			return err
		}
		return b.advance(d)
	case "answer": // answer <act>: done | failed WHY[; type COMMAND] | takes DURATION | hangs | dead
		act, how, _ := strings.Cut(rest(1), ": ")
		word, more, _ := strings.Cut(how, " ")
		d, _ := time.ParseDuration(more)
		more, command, _ := strings.Cut(more, "; type ")
		b.answers[act] = map[string]answer{
			"done": {}, "failed": {outcome: Failed, why: more, command: command}, "takes": {takes: d}, "hangs": {hangs: true}, "dead": {dead: true},
		}[word]
		b.clock()
	case "status":
		s := b.m.Status()
		*answers = append(*answers, fmt.Sprintf("status: %s since %v (%s), missing %q, step %q, alerts %q",
			label(s.Role, s.Reason), s.Since.Sub(began), s.Cause, s.Missing, s.Step, s.Alerts))
		if len(s.Mend) > 0 {
			*answers = append(*answers, fmt.Sprintf("mend: %q", s.Mend))
		}
	case "elected":
		b.tell(Elected{Election(slices.Index(electionNames, arg(1)))})
	case "deposed":
		b.tell(Deposed{By: arg(1), Cause: rest(2)})
	case "peer":
		b.tell(PeerActive{By: arg(1)})
	case "serve": // the peer's adverts for a while
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			return err
		}
		for until := b.now.Add(d); b.now.Before(until); {
			if err := b.advance(time.Second); err != nil {
				return err
			}
			b.tell(PeerActive{By: "10.2.0.2"})
		}
	case "disk": // disk <resource> <state> [apart=CAUSE] [resync] [peer-up-to-date] [why… | frozen why…]
		d := Disk{Name: arg(1), State: DiskState(slices.Index(diskNames, strings.ReplaceAll(arg(2), "-", " ")))}
		n := 3
		for ; n < len(words); n++ {
			if cause, yes := strings.CutPrefix(arg(n), "apart="); yes {
				d.Apart = Apart(slices.Index(apartNames, strings.ReplaceAll(cause, "-", " ")))
			} else if arg(n) == "resync" {
				d.Syncing = true
			} else if arg(n) == "peer-up-to-date" {
				d.PeerUpToDate = true
			} else if arg(n) == "frozen" {
				d.Frozen, d.Command, n = rest(n+1), "kvmha confirm-dead web", len(words)
				break
			} else {
				break
			}
		}
		d.Why = rest(n)
		b.tell(d)
	case "right": // right <state> [why…]
		r := Right{State: RightState(slices.Index(rightNames, arg(1))), Why: rest(2)}
		if r.State == RightNo || r.State == RightAsk {
			r.Command = "kvmha confirm-dead web"
		}
		b.tell(r)
	case "better":
		b.tell(Peer{})
	case "fit-peer":
		b.tell(Peer{Fit: true})
	case "wanted":
		b.tell(Wanted{By: arg(1)})
	case "worse":
		b.tell(Peer{Worse: true, Why: rest(1)})
	case "misconfigured":
		b.tell(Misconfigured{rest(1)})
	case "carrier":
		b.tell(Carrier{good})
	case "interface":
		b.tell(Interface{good})
	case "isolated":
		b.tell(Isolated{good, rest(2)})
	case "check":
		b.tell(Checked{Name: arg(1), State: State(slices.Index(stateNames, arg(2))), Why: rest(3)})
	case "died":
		b.tell(UnitDied{arg(1), rest(2)})
	case "runs":
		b.tell(UnitRuns{arg(1)})
	case "maintenance":
		b.tell(Maintenance{good})
	case "switch":
		b.tell(Switch{ID: 7, Force: arg(1) == "force"})
	case "restart":
		b.tell(Restart{ID: 8})
	case "stop":
		b.tell(Stop{rest(1)})
	case "freeze":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			return err
		}
		b.now = b.now.Add(d)
		b.tell(Freeze{d})
	case "lost":
		b.tell(AddressLost{addr})
	case "found":
		b.tell(AddressFound{addr, arg(1)})
	case "taken":
		b.tell(AddressTaken{addr, arg(1)})
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}
