package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/test/guest"
)

// libvirt is the other side: its daemons, with directories of their own, and the same guests defined in them.
type libvirt struct {
	u       *ours
	dir     string
	daemons []*daemon
}

const (
	virtSingle = "virsingle"
	virtPrefix = "libvirt-"
)

// What its daemons are told beyond Debian's defaults: this machine's cgroups, mount namespaces and AppArmor are not theirs to use in a
// container. Each of the three only saves libvirt work.
const (
	qemuConf     = "namespaces = []\ncgroup_controllers = []\nsecurity_driver = \"none\"\nstdio_handler = \"logd\"\n"
	libvirtdConf = "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nunix_sock_group = \"root\"\n"
)

// newLibvirt starts virtlogd and libvirtd. Their directories are bind mounts in this mount namespace, so that the names that are
// built into them lead below our root.
func newLibvirt(ctx context.Context, u *ours) (*libvirt, error) {
	for _, p := range []string{"virsh", "libvirtd", "virtlogd"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("%s is not installed: run contrib/deps.sh bench", p)
		}
	}
	v := &libvirt{u: u, dir: filepath.Join(u.root, "libvirt")}
	for _, d := range []string{"/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"} {
		private := filepath.Join(v.dir, d)
		if err := errors.Join(os.MkdirAll(private, 0o755), os.MkdirAll(d, 0o755)); err != nil {
			return nil, err
		}
		if err := unix.Mount(private, d, "", unix.MS_BIND, ""); err != nil {
			return nil, fmt.Errorf("mount %s on %s: %w", private, d, err)
		}
	}
	for name, text := range map[string]string{"qemu.conf": qemuConf, "libvirtd.conf": libvirtdConf} {
		if err := os.WriteFile(filepath.Join("/etc/libvirt", name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for _, argv := range [][]string{{"virtlogd"}, {"libvirtd"}} {
		d, err := startDaemon(filepath.Join(u.root, argv[0]+".log"), argv...)
		if err != nil {
			return nil, errors.Join(err, v.close())
		}
		v.daemons = append(v.daemons, d)
		if err := d.answers(ctx, "/run/libvirt/"+map[string]string{"virtlogd": "virtlogd-sock", "libvirtd": "libvirt-sock"}[argv[0]]); err != nil {
			return nil, errors.Join(err, v.close())
		}
	}
	if err := v.define(ctx, virtSingle); err != nil {
		return nil, errors.Join(err, v.close())
	}
	// One start shows that it can be measured at all.
	if _, err := v.start(ctx); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

//go:embed domain.xml
var domainXML string

var domain = template.Must(template.New("domain").Parse(domainXML))

// define makes a guest like kvmctl's: same machine, memory, kernel, disk format and size, bridge, VNC.
func (v *libvirt) define(ctx context.Context, name string) error {
	disk := filepath.Join("/var/lib/libvirt", name+".qcow2")
	if _, err := output(ctx, "qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"); err != nil {
		return err
	}
	abi, err := v.u.abi()
	if err != nil {
		return err
	}
	kind := map[string]string{"tcg": "qemu", "kvm": "kvm"}[v.u.o.accel]
	path := filepath.Join(v.dir, name+".xml")
	var xml strings.Builder
	err = domain.Execute(&xml, map[string]any{"Name": name, "Type": kind, "MiB": memMiB, "Machine": abi.Machine, "Kernel": v.u.images.Kernel,
		"Initrd": v.u.images.Initrd, "Cmdline": guest.Cmdline, "Disk": disk, "Bridge": bridge, "QEMU": v.u.host.QEMU})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(xml.String()), 0o644); err != nil {
		return err
	}
	_, err = output(ctx, "virsh", "-q", "define", path)
	return err
}

// start is one run of `virsh start`.
func (v *libvirt) start(ctx context.Context) (time.Duration, error) {
	d, err := timed(ctx, "virsh", "-q", "start", virtSingle)
	if err != nil {
		return 0, err
	}
	_, err = output(ctx, "virsh", "-q", "destroy", virtSingle)
	return d, err
}

func (v *libvirt) list(ctx context.Context) (time.Duration, error) {
	return timed(ctx, "virsh", "list", "--all")
}

// defineAll makes as many guests as kvmctl has.
func (v *libvirt) defineAll(ctx context.Context) error {
	for _, n := range names(virtPrefix, v.u.o.defined-1) { // and the one whose start was measured
		if err := v.define(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (v *libvirt) boot(ctx context.Context, i int) error {
	_, err := output(ctx, "virsh", "-q", "start", names(virtPrefix, v.u.o.running)[i])
	return err
}

// ready waits until a guest has said on its console, which is a file, that it is up.
func (v *libvirt) ready(ctx context.Context, i int) error {
	n := names(virtPrefix, v.u.o.running)[i]
	return waitFor(ctx, "the guest "+n, 4*time.Minute, func() (bool, error) {
		text, err := os.ReadFile(filepath.Join("/var/log/libvirt", n+".console"))
		return strings.Contains(string(text), guest.Ready), err
	})
}

// close ends guests and daemons, guests first: libvirt's outlive their daemon.
func (v *libvirt) close() error {
	procs, err := processes()
	for _, p := range procs {
		if strings.Contains(p.line, "guest="+virtPrefix) || strings.Contains(p.line, "guest="+virtSingle) {
			_ = unix.Kill(p.pid, unix.SIGKILL) // in our own pid namespace, and it may have ended
		}
	}
	for _, d := range v.daemons {
		d.stop()
	}
	return err
}

// daemon is a child that runs until it is stopped.
type daemon struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

func startDaemon(log string, argv ...string) (*daemon, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &daemon{cmd: exec.Command(argv[0], argv[1:]...), log: log, ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = f, f
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = d.cmd.Wait(); close(d.ended) }() // stop waits for it
	return d, nil
}

// answers waits for a daemon's socket.
func (d *daemon) answers(ctx context.Context, socket string) error {
	return waitFor(ctx, socket, 30*time.Second, func() (bool, error) {
		select {
		case <-d.ended:
			text, _ := os.ReadFile(d.log)
			return false, fmt.Errorf("%s ended: %s", d.cmd.Path, strings.TrimSpace(string(text)))
		default:
		}
		_, err := os.Stat(socket)
		return err == nil, nil
	})
}

func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(unix.SIGTERM) // an error means that it has ended
	select {
	case <-d.ended:
		return
	case <-time.After(5 * time.Second):
	}
	_ = d.cmd.Process.Kill()
	<-d.ended
}
