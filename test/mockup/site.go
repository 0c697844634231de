package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kvmctl/test/drbdlab"
	"kvmctl/test/guest"
)

// The seed's site. Names, shared addresses and vhids are its own, as are those of the standbys and of DRBD's link (10.4); what varda2 and olorin2 have
// on the service link it does not say.
const (
	hostLAN   = "10.2.0.1" // the client, the mail relay, the PDU, valinor and the arbiter are here
	hostHands = "10.99.0.1"

	vardaAddress = "10.2.0.2"
	vardaVHID    = 210
	dnsAddress   = "10.2.0.10"
	dnsVHID      = 200

	share    = "/iut/admin" // the seed's first resource, and where it is mounted
	resource = "admin"

	stateSize = 16 << 20 // of /dev/vdb, which keeps what an agent must not forget, in bytes
	diskSize  = 64 << 20 // of /dev/vda, below DRBD, in bytes
)

// place is one of the four machines.
type place struct {
	name     string
	lan      string
	link     string // DRBD's
	hands    string // where the programs of this run are started; no agent knows of it
	physical bool   // valinor does not fence it
	vhid     int
}

var (
	varda2   = place{"varda2", "10.2.0.102", "10.4.0.102", "10.99.0.102", true, vardaVHID}
	vmVarda  = place{"vm-varda", "10.2.0.202", "10.4.0.202", "10.99.0.202", false, vardaVHID}
	olorin2  = place{"olorin2", "10.2.0.110", "10.4.0.110", "10.99.0.110", true, dnsVHID}
	vmOlorin = place{"vm-olorin", "10.2.0.210", "10.4.0.210", "10.99.0.210", false, dnsVHID}
)

var places = []place{varda2, vmVarda, olorin2, vmOlorin}

const kvmToml = `[defaults]
accel = "tcg"
stop_timeout = "10s"

[[bridge]] # the service link
name = "lan"
address = "` + hostLAN + `/16"

[[bridge]] # DRBD's
name = "drbd"

[[bridge]] # of nobody in the story
name = "hands"
address = "` + hostHands + `/24"
`

// vmToml is a machine.
func vmToml(p place, dir string, images guest.Images) string {
	return fmt.Sprintf(`memory = "512M"
memory_max = "512M"
kernel = %q
initrd = %q
cmdline = "%s host=%s ip=%s/16 ip1=%s/16 ip2=%s/24 panic=1"

[vnc]
display = "none"

[guest]
agent = false

[[disk]]
image = "data.raw"
format = "raw"

[[disk]]
image = "state.raw"
format = "raw"

[[nic]]
bridge = "lan"
carp = [%d]

[[nic]]
bridge = "drbd"

[[nic]]
bridge = "hands"
`, images.Kernel, filepath.Join(dir, "initrd"), guest.Cmdline, p.name, p.lan, p.link, p.hands, p.vhid)
}

// programs are what the machines have beside a guest with storage.
var programs = map[string][]string{"dnsmasq-base": {"dnsmasq"}}

// prepare makes the machines' images, for which a way to Debian's packages may be needed.
func prepare(ctx context.Context, dir string) error {
	images, err := guest.Storage(ctx, guest.DefaultDir())
	if err != nil {
		return err
	}
	more, err := guest.Programs(ctx, guest.DefaultDir(), programs)
	if err != nil {
		return err
	}
	agent, err := drbdlab.Binary(ctx, dir)
	if err != nil {
		return err
	}
	server, err := drbdlab.Program(ctx, "kvmctl/test/mockup/cmd/lined")
	if err != nil {
		return err
	}
	files := map[string][]byte{"/bin/kvmha": agent, "/lab/lined": server}
	for path, text := range scripts {
		files[path] = []byte(text)
	}
	initrd, err := drbdlab.Initrd(ctx, dir, images.Initrd, ":5000", files)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(initrd, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(more); err != nil {
		return err
	}
	return f.Close()
}

// writeSite writes what kvmctl reads, and empty disks.
func writeSite(ctx context.Context, dir string) error {
	images, err := guest.Storage(ctx, guest.DefaultDir()) // made already
	if err != nil {
		return err
	}
	files := map[string]string{"etc/kvm/kvm.toml": kvmToml}
	for _, p := range places {
		files["etc/kvm/"+p.name+"/vm.toml"] = vmToml(p, dir, images)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// blank gives a machine new disks; it must not run.
func blank(dir, name string) error {
	home := filepath.Join(dir, "var/lib/kvm", name)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	for file, size := range map[string]int64{"data.raw": diskSize, "state.raw": stateSize} {
		path := filepath.Join(home, file)
		_ = os.Remove(path) // there may be none
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(path, size); err != nil {
			return err
		}
	}
	return nil
}
