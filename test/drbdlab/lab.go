package drbdlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"kvmctl/test/guest"
)

// DiskSize is that of a guest's disk, in bytes.
const DiskSize = 64 << 20

// The guests' names are the seed's.
const (
	Physical = "varda2"
	Standby  = "vm-varda"
)

// Lab is two guests, A and B, with two cables between them: eth0 (10.90.0.x, the service) and eth1 (10.91.0.x, DRBD); x is 1 for A and 2 for B.
type Lab struct {
	A, B *Guest
	dir  string
}

// Options are what a lab may have beyond the plain one.
type Options struct {
	Files  map[string][]byte // put into both guests, by their path there
	Memory int               // of each guest, in MiB; 0: 256
	Image  string            // a raw disk image that both see as /dev/vdc, and may write to until their power goes; "": none
	TAPs   [2]string         // eth0 of A and of B is this TAP, which is there, instead of a cable between them
}

// New boots a lab. files are put into both guests beside what a lab has, by their path there. Close ends it.
func New(ctx context.Context, files map[string][]byte) (*Lab, error) {
	return NewWith(ctx, Options{Files: files})
}

// NewWith is New with more to choose.
func NewWith(ctx context.Context, o Options) (lab *Lab, err error) {
	images, err := guest.Storage(ctx, guest.DefaultDir())
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "drbdlab") // short: the sockets' paths have at most 107 bytes
	if err != nil {
		return nil, fmt.Errorf("make a lab: %w", err)
	}
	l := &Lab{dir: dir}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	initrd, err := Initrd(ctx, dir, images.Initrd, "/dev/virtio-ports/lab", o.Files)
	if err != nil {
		return nil, err
	}
	cable := func(nic int, own, other string) string {
		return fmt.Sprintf("dgram,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", l.cable(nic, own), l.cable(nic, other))
	}
	nets := [2][]string{{cable(0, "a", "b"), cable(1, "a", "b")}, {cable(0, "b", "a"), cable(1, "b", "a")}}
	for i, tap := range o.TAPs {
		if tap != "" {
			nets[i][0] = "tap,script=no,downscript=no,ifname=" + tap
		}
	}
	if l.A, err = newGuest(dir, Physical, initrd, images, o, nets[0], 1); err != nil {
		return nil, err
	}
	if l.B, err = newGuest(dir, Standby, initrd, images, o, nets[1], 2); err != nil {
		return nil, err
	}
	if err = both(func(g *Guest) error { return g.Boot(ctx) }, l.A, l.B); err != nil {
		return nil, err
	}
	return l, nil
}

// Close ends the guests and removes their disks.
func (l *Lab) Close() {
	for _, g := range []*Guest{l.A, l.B} {
		if g != nil {
			g.PowerCut()
		}
	}
	os.RemoveAll(l.dir)
}

// cable is the socket at one end of a cable.
func (l *Lab) cable(nic int, end string) string {
	return filepath.Join(l.dir, fmt.Sprintf("c%d%s", nic, end))
}

// Pass lets frames through a cable, or swallows them as a switch in between would: the carrier stays.
func (l *Lab) Pass(nic int, through bool) error {
	var errs []error
	for _, end := range []string{"a", "b"} {
		from, to := l.cable(nic, end), l.cable(nic, end)+".swallowed"
		if through {
			from, to = to, from
		}
		errs = append(errs, os.Rename(from, to)) // QEMU sends to the path
	}
	return errors.Join(errs...)
}

// Both does something to both guests at once.
func (l *Lab) Both(f func(*Guest) error) error { return both(f, l.A, l.B) }

func both(f func(*Guest) error, guests ...*Guest) error {
	errs := make([]error, len(guests))
	var all sync.WaitGroup
	for i, g := range guests {
		all.Go(func() { errs[i] = f(g) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// inittab has the exec agent of the lab beside a shell on the console.
const inittab = "::sysinit:/lib/storage\nttyS0::respawn:-/bin/sh\n::respawn:/lab/labexec PORT\n::ctrlaltdel:/sbin/reboot\n"

// Initrd makes dir/initrd of a guest's initramfs, the lab's agent and some files by their path there, and gives its path. Connect then runs programs at
// port, a device or an address to listen at.
func Initrd(ctx context.Context, dir, base, port string, files map[string][]byte) (string, error) {
	program, err := Program(ctx, "kvmctl/test/drbdlab/cmd/labexec")
	if err != nil {
		return "", err
	}
	all := map[string][]byte{"lab/labexec": program, "etc/inittab": []byte(strings.ReplaceAll(inittab, "PORT", port))}
	for name, data := range files {
		all[strings.TrimPrefix(name, "/")] = data
	}
	more, err := guest.Pack(all)
	if err != nil {
		return "", err
	}
	small, err := os.ReadFile(base)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "initrd"), slices.Concat(small, more), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("make the lab's initramfs: %w", err)
	}
	return filepath.Join(dir, "initrd"), nil
}

// Config is a drbd.conf for one resource on both guests, with more lines for its sections.
type Config struct {
	Resource string // r0 when empty
	Disk     string // lines of the section disk, likewise the others
	Net      string
	Handlers string
	Secret   string // "lab" when empty
}

// Text is the file.
func (c Config) Text() string {
	if c.Resource == "" {
		c.Resource = "r0"
	}
	if c.Secret == "" {
		c.Secret = "lab"
	}
	return fmt.Sprintf(`global { usage-count no; }
resource %s {
	startup { wfc-timeout 1; }
	handlers { %s }
	disk { %s }
	net { protocol C; cram-hmac-alg sha1; shared-secret "%s"; timeout 10; connect-int 1; ping-int 1; ping-timeout 5; %s }
	on %s { device /dev/drbd0; disk /dev/vda; address 10.91.0.1:7788; meta-disk internal; }
	on %s { device /dev/drbd0; disk /dev/vda; address 10.91.0.2:7788; meta-disk internal; }
}
`, c.Resource, c.Handlers, c.Disk, c.Secret, c.Net, Physical, Standby)
}

// Configure writes drbd.conf on both.
func (l *Lab) Configure(ctx context.Context, c Config) error {
	return l.Both(func(g *Guest) error { return g.Put(ctx, "/etc/drbd.conf", []byte(c.Text()), 0o600) })
}

// Replicate makes a resource on both, from nothing: UpToDate on both without a resync, nobody is primary.
func (l *Lab) Replicate(ctx context.Context, c Config) error {
	if err := l.Configure(ctx, c); err != nil {
		return err
	}
	err := l.Both(func(g *Guest) error {
		_, err := g.Sh(ctx, "echo yes | drbdadm create-md --force r0 >/dev/null 2>&1; drbdadm up r0")
		return err
	})
	if err != nil {
		return err
	}
	if err := l.A.Until(ctx, "drbdadm cstate r0 | grep -q ^Connected"); err != nil {
		return err
	}
	if _, err := l.A.Sh(ctx, "drbdadm new-current-uuid --clear-bitmap r0/0"); err != nil {
		return err
	}
	return l.UpToDate(ctx)
}

// UpToDate waits until both are.
func (l *Lab) UpToDate(ctx context.Context) error {
	return l.Both(func(g *Guest) error { return g.Until(ctx, "drbdadm dstate r0 | grep -q ^UpToDate/UpToDate") })
}
