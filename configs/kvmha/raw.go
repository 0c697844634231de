package kvmha

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync"

	"kvmctl/configs/strict"
	"kvmctl/internal/units"
)

// The raw structs have the shape of the file; a nil field was not set. Package strict reads their tags.

type rawFile struct {
	Node     *string             `toml:"node"`
	Language *string             `toml:"language" enum:"en fr"`
	Mail     rawMail             `toml:"mail"`
	Webhook  rawWebhook          `toml:"webhook"`
	Command  rawCommand          `toml:"command"`
	Log      rawLog              `toml:"log"`
	Channel  rawChannel          `toml:"channel"`
	Peers    map[string]rawPeer  `toml:"peer"`
	Arbiter  rawArbiter          `toml:"arbiter"`
	Fences   map[string]rawFence `toml:"fence"`
	Groups   map[string]rawGroup `toml:"group"`
	Syncs    []rawSync           `toml:"sync"`
}

type rawSync struct {
	Name      *string         `toml:"name"`
	Group     *string         `toml:"group"`
	Paths     []string        `toml:"paths" eg:"[\"/etc/bind/\"]"`
	Exclude   []string        `toml:"exclude" eg:"[\"*.jnl\"]"`
	Validate  []string        `toml:"validate" words:"ok" empty:"ok"`
	Reload    []string        `toml:"reload" words:"ok" empty:"ok" single:"ok"`
	MaxDelete *string         `toml:"max_delete"`
	Keep      *int            `toml:"keep" range:"1..100"`
	Every     *units.Duration `toml:"every" range:"1s..24h" eg:"5m"`
	At        *string         `toml:"at" eg:"\"03:30\""`
	OnChange  *bool           `toml:"on_change"`
}

type rawArbiter struct {
	Etcd   rawEtcd                    `toml:"etcd"`
	Groups map[string]rawArbiterGroup `toml:"group"`
}

type rawEtcd struct {
	Endpoints []string `toml:"endpoints" eg:"[\"https://10.2.0.21:2379\"]"`
	CAFile    *string  `toml:"ca_file"`
	CertFile  *string  `toml:"cert_file"`
	KeyFile   *string  `toml:"key_file"`
	Prefix    *string  `toml:"prefix"`
}

type rawArbiterGroup struct {
	Members []string `toml:"members" eg:"[\"varda1\", \"varda2\"]"`
}

type rawChannel struct {
	Listen []string `toml:"listen" eg:"[\":4694\"]"`
}

type rawPeer struct {
	Addresses []string `toml:"addresses" eg:"[\"10.2.0.11\"]"`
	Role      *string  `toml:"role" enum:"member arbiter"`
}

type rawMail struct {
	Relay        *string         `toml:"relay"`
	TLS          *string         `toml:"tls" enum:"starttls implicit opportunistic none"`
	User         *string         `toml:"user"`
	Password     *string         `toml:"password" secret:"ok"`
	PasswordFile *string         `toml:"password_file"`
	From         *string         `toml:"from"`
	To           []string        `toml:"to"`
	Timeout      *units.Duration `toml:"timeout" range:"1s..5m" eg:"30s"`
}

type rawWebhook struct {
	URL       *string         `toml:"url"`
	Token     *string         `toml:"token" secret:"ok"`
	TokenFile *string         `toml:"token_file"`
	Timeout   *units.Duration `toml:"timeout" range:"1s..5m" eg:"30s"`
}

type rawCommand struct {
	Run     []string        `toml:"run" words:"ok" empty:"ok"`
	Timeout *units.Duration `toml:"timeout" range:"1s..5m" eg:"30s"`
}

type rawLog struct {
	To   *string `toml:"to" enum:"journal syslog file"`
	File *string `toml:"file"`
}

type rawGroup struct {
	Description  *string      `toml:"description" empty:"ok" lines:"ok"`
	Interface    *string      `toml:"interface"`
	VHID         *int         `toml:"vhid" range:"1..255"`
	Addresses    []netip.Addr `toml:"addresses" eg:"[\"10.2.0.10\"]"`
	Password     *string      `toml:"password" secret:"ok"`
	PasswordFile *string      `toml:"password_file"`

	Base      *int         `toml:"base" range:"0..254"`
	Skew      *int         `toml:"skew" range:"0..254"`
	PeerSkew  *int         `toml:"peer_skew" range:"0..254"`
	DeadRatio *int         `toml:"dead_ratio" range:"2..100"`
	Peer      *string      `toml:"peer" enum:"kvmha ucarp bsd"`
	Unicast   []netip.Addr `toml:"unicast" eg:"[\"10.2.0.2\"]"`

	Preempt      *bool           `toml:"preempt"`
	PreemptDelay *units.Duration `toml:"preempt_delay" range:"0s..1h" eg:"10s"`
	VirtualMAC   *bool           `toml:"virtual_mac"`
	Probe        *bool           `toml:"probe"`

	CarrierUpDelay   *units.Duration `toml:"carrier_up_delay" range:"0s..10m" eg:"2s"`
	CarrierDownDelay *units.Duration `toml:"carrier_down_delay" range:"0s..1m" eg:"100ms"`
	IgnoreCarrier    *bool           `toml:"ignore_carrier"`

	Order         []string        `toml:"order" enum:"drbd mounts units checks address announce hooks"`
	Restarts      *int            `toml:"restarts" range:"0..100"`
	RestartWindow *units.Duration `toml:"restart_window" range:"1s..24h" eg:"10m"`
	OnFailure     *string         `toml:"on_failure" enum:"hand-over stay"`
	Remind        *units.Duration `toml:"remind" range:"0s..720h" eg:"4h"`

	Alone       *string         `toml:"alone" eg:"\"varda2\""`
	Fence       *string         `toml:"fence" eg:"\"host\""`
	FenceAfter  *units.Duration `toml:"fence_after" range:"0s..5m" eg:"3s"`
	AddressWait *units.Duration `toml:"address_wait" range:"0s..10m" eg:"1m"`
	Verify      *string         `toml:"verify" eg:"\"03:30\""`
	DRBD        []rawResource   `toml:"drbd"`
	Mounts      []rawMount      `toml:"mount"`

	Damping rawDamping `toml:"damping"`
	Hooks   rawHooks   `toml:"hooks"`
	Units   []rawUnit  `toml:"unit"`
	Checks  []rawCheck `toml:"check"`
}

type rawDamping struct {
	Min    *units.Duration `toml:"min" range:"100ms..1h" eg:"1s"`
	Max    *units.Duration `toml:"max" range:"100ms..24h" eg:"5m"`
	Moves  *int            `toml:"moves" range:"1..100"`
	Window *units.Duration `toml:"window" range:"1s..24h" eg:"10m"`
}

type rawHooks struct {
	Active  []string        `toml:"active" words:"ok" empty:"ok"`
	Standby []string        `toml:"standby" words:"ok" empty:"ok"`
	Waiting []string        `toml:"waiting" words:"ok" empty:"ok"`
	Timeout *units.Duration `toml:"timeout" range:"100ms..1h" eg:"30s"`
}

type rawResource struct {
	Resource *string `toml:"resource"`
}

type rawMount struct {
	Device         *string         `toml:"device"`
	Dir            *string         `toml:"directory"`
	Type           *string         `toml:"type"`
	Options        *string         `toml:"options"`
	Fsck           *string         `toml:"fsck" enum:"preen fail never"`
	MountTimeout   *units.Duration `toml:"mount_timeout" range:"1s..24h" eg:"2m"`
	UnmountTimeout *units.Duration `toml:"unmount_timeout" range:"1s..1h" eg:"30s"`
}

type rawFence struct {
	Type         *string         `toml:"type" enum:"kvmctl exec manual"`
	VM           *string         `toml:"vm"`
	Agent        *string         `toml:"agent"`
	Parameters   []string        `toml:"parameters" eg:"[\"ip=10.2.0.30\"]"`
	Password     *string         `toml:"password" secret:"ok"`
	PasswordFile *string         `toml:"password_file"`
	Timeout      *units.Duration `toml:"timeout" range:"1s..10m" eg:"30s"`
}

type rawUnit struct {
	Type         *string         `toml:"type" enum:"systemd sysv command ucarp"`
	Name         *string         `toml:"name"`
	Start        []string        `toml:"start" words:"ok" empty:"ok"`
	Stop         []string        `toml:"stop" words:"ok" empty:"ok"`
	Status       []string        `toml:"status" words:"ok" empty:"ok"`
	XParam       *string         `toml:"xparam"`
	PIDFile      *string         `toml:"pidfile"`
	StartTimeout *units.Duration `toml:"start_timeout" range:"1s..1h" eg:"30s"`
	StopTimeout  *units.Duration `toml:"stop_timeout" range:"1s..1h" eg:"30s"`
}

type rawCheck struct {
	Type    *string  `toml:"type" enum:"systemd process tcp exec ping dns http smtp dhcp ldap smb disk arp sid pf pfsync"`
	Name    *string  `toml:"name"`
	Unit    *string  `toml:"unit"`
	PIDFile *string  `toml:"pidfile"`
	Process *string  `toml:"process"`
	Target  *string  `toml:"target"`
	Send    *string  `toml:"send" lines:"ok"`
	Expect  *string  `toml:"expect" lines:"ok"`
	Run     []string `toml:"run" words:"ok" empty:"ok"`

	TLS          *string `toml:"tls" enum:"none starttls implicit"`
	CAFile       *string `toml:"ca_file"`
	ServerName   *string `toml:"server_name"`
	User         *string `toml:"user"`
	Password     *string `toml:"password" secret:"ok"`
	PasswordFile *string `toml:"password_file"`

	Query     *string `toml:"query"`
	Record    *string `toml:"record" enum:"A AAAA CNAME MX NS PTR SOA SRV TXT"`
	RCode     *string `toml:"rcode" enum:"NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED"`
	Answer    *string `toml:"answer"`
	Transport *string `toml:"transport" enum:"udp tcp"`
	SerialOf  *string `toml:"serial_of"`

	Host     *string         `toml:"host"`
	Path     *string         `toml:"path"`
	Status   *int            `toml:"status" range:"200..599"`
	Contains *string         `toml:"contains" lines:"ok"`
	Helo     *string         `toml:"helo"`
	Expires  *units.Duration `toml:"expires" range:"0s..8760h"`

	Base   *string `toml:"base"`
	Filter *string `toml:"filter"`
	Count  *int    `toml:"count" range:"0..1000"`

	Session         *string `toml:"session" enum:"user guest anonymous"`
	Share           *string `toml:"share"`
	Hidden          *bool   `toml:"hidden"`
	File            *string `toml:"file"`
	RefuseAnonymous *bool   `toml:"refuse_anonymous"`

	Mounted   *bool   `toml:"mounted"`
	ReadOnly  *bool   `toml:"read_only"`
	MinFree   *string `toml:"min_free"`
	MinInodes *string `toml:"min_inodes"`

	Interface *string `toml:"interface"`
	MAC       *string `toml:"mac"`

	Discover *bool    `toml:"discover"`
	ServerID *string  `toml:"server_id"`
	Options  []string `toml:"options" eg:"[\"routers=10.2.0.1\"]"`

	Peer       *string `toml:"peer"`
	DomainOnly *bool   `toml:"domain_only"`

	When     *string         `toml:"when" enum:"active always"`
	Interval *units.Duration `toml:"interval" range:"100ms..1h" eg:"1s"`
	Timeout  *units.Duration `toml:"timeout" range:"10ms..5m" eg:"1s"`
	Fall     *int            `toml:"fall" range:"1..100"`
	Rise     *int            `toml:"rise" range:"1..100"`
}

// otherStorage are keys of a group that somebody may write for one of ours.
var otherStorage = []string{"mounts", "filesystem", "storage", "disk"}

var fileSchema = sync.OnceValue(func() *strict.Schema {
	s := strict.SchemaOf(reflect.TypeFor[rawFile]())
	refused := map[string]strict.Refusal{}
	for _, key := range otherStorage {
		refused[key] = strict.Refusal{Msg: fmt.Sprintf("unknown key %q", key), Fix: "storage is [[group.<name>.drbd]] and [[group.<name>.mount]]"}
	}
	refused["address"] = strict.Refusal{Msg: `unknown key "address"`, Fix: `addresses = ["10.2.0.10"]`}
	s.ByName["group"].Sub.Refused = refused
	return s
})
