package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"kvmctl/ha"
)

// mode is what a pair's storage may be taken over by.
type mode string

const (
	withPDU    mode = "PDU"        // it answers
	withSilent mode = "silent PDU" // it never does
	withJudge  mode = "arbiter"
	withNobody mode = "" // of olorin, which has no storage
)

// agentTexts are parts of the members' files.
const (
	agentHead = `node = %q
[mail]
relay = "` + hostLAN + `:25"
tls = "none"
from = "kvmha@iut.example"
to = ["admin@iut.example"]
[peer.%s]
addresses = [%s]
`
	agentGroup = `[group.%s]
interface = "eth0"
vhid = %d
addresses = [%q]
password = "mellon"
skew = %d
probe = false
[group.%[1]s.damping]
moves = 100
window = "1s"
max = "1s"
`
	agentStorage = `[[group.varda.drbd]]
resource = "` + resource + `"
[[group.varda.mount]]
device = "/dev/drbd0"
directory = "` + share + `"
[[group.varda.unit]]
type = "command"
name = "share"
start = ["/lab/share", "start"]
stop = ["/lab/share", "stop"]
status = ["/lab/share", "status"]
pidfile = "/run/share.pid"
[[group.varda.check]]
type = "tcp"
target = "127.0.0.1:445"
send = "\n"
expect = "hello"
`
	agentDNS = `[[group.olorin.unit]]
type = "command"
name = "dnsmasq"
start = ["/lab/dns", "start"]
stop = ["/lab/dns", "stop"]
status = ["/lab/dns", "status"]
pidfile = "/run/dnsmasq.pid"
[[group.olorin.check]]
type = "dns"
target = "127.0.0.1:53"
query = "www.iut.example"
`
	judge = "elrond"
)

// agentFile is a member's kvmha.toml.
func agentFile(own, other place, m mode) string {
	skew := map[bool]int{true: 0, false: 100}[own.physical]
	addresses := fmt.Sprintf("%q, %q", other.lan, other.link)
	var b strings.Builder
	fmt.Fprintf(&b, agentHead, own.name, other.name, addresses)
	if own.vhid == dnsVHID {
		fmt.Fprintf(&b, agentGroup+agentDNS, "olorin", dnsVHID, dnsAddress, skew)
		return b.String()
	}
	port := map[bool]int{true: pduPort, false: valinorPort}[other.physical]
	lines := "alone = \"fence\"\nfence = \"switch\"\n"
	if m == withJudge {
		lines = "alone = \"arbiter\"\n"
		fmt.Fprintf(&b, "[peer.%s]\naddresses = [%q]\nrole = \"arbiter\"\n", judge, hostLAN)
	} else {
		fmt.Fprintf(&b, "[fence.switch]\ntype = \"exec\"\nagent = \"/lab/switch\"\nparameters = [\"port=%d\", \"plug=%s\", \"node=%s\"]\ntimeout = \"15s\"\n", port, other.name, own.name)
	}
	group := strings.Replace(agentGroup, "[group.%[1]s.damping]", lines+"[group.%[1]s.damping]", 1)
	fmt.Fprintf(&b, group+agentStorage, "varda", vardaVHID, vardaAddress, skew)
	return b.String()
}

// setUp gives a machine that has booted its files.
func (m *machine) setUp(ctx context.Context, other place, how mode) error {
	others := []string{other.name}
	if how == withJudge {
		others = append(others, judge)
	}
	files, err := keys(m.w.path("keys"), m.name, others...)
	if err != nil {
		return err
	}
	files["/etc/kvmha.toml"] = []byte(agentFile(m.place, other, how))
	if m.vhid == vardaVHID {
		files["/etc/drbd.conf"] = m.w.drbdConf
	}
	return m.put(ctx, files)
}

// start runs the agent, and follows its log.
func (m *machine) start(ctx context.Context) error {
	if err := m.compareClocks(ctx); err != nil { // it stood still while the machine was frozen
		return err
	}
	m.w.begins(m.name)
	_, err := m.sh(ctx, "mkdir -p /run/kvmha; setsid kvmha run --debug </dev/null >>/var/log/kvmha.log 2>&1 & echo $! >/run/kvmha.pid; setsid kvmha tick </dev/null >/dev/null 2>&1 &")
	if err != nil {
		return err
	}
	p, err := m.inside()
	if err != nil {
		return err
	}
	if m.followed != p {
		m.followed = p
		m.w.follow(m, p)
	}
	for within := time.Now().Add(30 * time.Second); m.says() == ""; {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		if time.Now().After(within) {
			return fmt.Errorf("the agent of %s writes nothing to its log: %w", m.name, errStatus)
		}
	}
	return nil
}

// stop ends the agent as its unit would: it hands over what it has.
func (m *machine) stop(ctx context.Context) error {
	_, err := m.sh(ctx, "kill $(cat /run/kvmha.pid) || exit 0; while kill -0 $(cat /run/kvmha.pid) 2>/dev/null; do sleep 0.05; done")
	return err
}

// status asks the agent.
func (m *machine) status(ctx context.Context) (s ha.Status, err error) {
	r, err := m.run(ctx, nil, nil, "kvmha", "status", "--json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(r.Stdout, &s); err != nil {
		return s, fmt.Errorf("%s: %w: %s", m.name, err, r.Stderr)
	}
	if len(s.Groups) != 1 {
		return s, fmt.Errorf("%s: no group: %w", m.name, errStatus)
	}
	return s, nil
}

var errStatus = errors.New("the agent's status is not as expected")

// role waits until the member's group has a role.
func (m *machine) role(ctx context.Context, within time.Duration, role string) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for m.says() != role {
		if pause(ctx, 20*time.Millisecond) == nil {
			continue
		}
		s, err := m.status(context.WithoutCancel(ctx))
		if err == nil {
			g := s.Groups[0]
			err = fmt.Errorf("%w: it is %s (%s), missing %q, %v", errStatus, g.Role, g.Reason, g.Missing, g.Alarms)
		}
		return fmt.Errorf("%s is not %s after %v: %w", m.name, role, within, err)
	}
	return nil
}

// says is the role that a member's agent has written to its log last.
func (m *machine) says() string { return m.w.journal.role(m.name) }
