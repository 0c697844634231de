package main

import (
	"context"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvmctl/test/guest"
)

const kvmToml = `# one bridge, without any physical card
[[bridge]]
name = "` + bridge + `"
address = "` + network + `.1/24"
`

// play is the session. It is the one that the README shows.
func (d *demo) play(ctx context.Context, images guest.Images, keep bool) error {
	say("a host with one bridge; everything lives below %s", d.root)
	toml := filepath.Join(d.root, "etc/kvm/kvm.toml")
	if err := os.MkdirAll(filepath.Dir(toml), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(toml, []byte(kvmToml), 0o644); err != nil {
		return err
	}
	if _, err := d.command(ctx, "cat", []string{"cat", toml}, []string{toml}); err != nil {
		return err
	}
	say("a guest, from nothing")
	if err := d.each(ctx,
		[]string{"create", name, "--disk", "8G", "--kernel", images.Kernel, "--initrd", images.AgentInitrd,
			"--append", guest.Cmdline + " host=" + name + " ip=" + guestAddr + "/24"},
		[]string{"start", name},
		[]string{"wait", name, "--for", "console:" + guest.Ready, "--timeout", "60s"},
		[]string{"status"}); err != nil {
		return err
	}
	say("it is on the network: three pings through its TAP")
	if _, err := d.command(ctx, "ping", []string{"ping", "-n", "-c", "3", "-i", "0.2", "-w", "10", guestAddr},
		[]string{"-n", "-c", "3", guestAddr}); err != nil {
		return err
	}
	say("its monitor")
	if err := d.each(ctx, []string{"monitor", name, "-c", "info block"}); err != nil {
		return err
	}
	say("its console: a line typed there")
	if err := d.typeOnConsole(ctx); err != nil {
		return err
	}
	say("its screen")
	if err := d.screenshot(ctx); err != nil {
		return err
	}
	say("power off, typed inside the guest")
	if err := d.powerOffInside(ctx); err != nil {
		return err
	}
	if err := d.each(ctx, []string{"status"}, []string{"log", name, "-n", "8"}); err != nil {
		return err
	}
	say("and again: start, then a graceful stop from outside")
	if err := d.each(ctx, []string{"start", name},
		[]string{"wait", name, "--for", "console:" + guest.Ready, "--timeout", "60s"}); err != nil {
		return err
	}
	if keep {
		return nil
	}
	return d.each(ctx, []string{"stop", name}, []string{"status"})
}

func (d *demo) each(ctx context.Context, commands ...[]string) error {
	for _, args := range commands {
		if _, err := d.kvmctl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// typeOnConsole attaches as a person would: on a terminal.
func (d *demo) typeOnConsole(ctx context.Context) error {
	s, err := d.terminal(ctx, "console", name)
	if err != nil {
		return err
	}
	defer s.close()
	return s.script(
		expect(guest.Prompt), send("\r"), expect(guest.Prompt),
		send("uname -sr; echo hello from $(hostname)\r"), expect("hello from "), expect(guest.Prompt),
		send("\x1d"), ends())
}

// powerOffInside types the command on the console, which tells how the guest ended.
func (d *demo) powerOffInside(ctx context.Context) error {
	s, err := d.terminal(ctx, "console", name)
	if err != nil {
		return err
	}
	defer s.close()
	return s.script(send("\r"), expect(guest.Prompt), send("poweroff\r"), ends())
}

func (d *demo) screenshot(ctx context.Context) error {
	path := filepath.Join(d.root, "screen.png")
	if _, err := d.kvmctl(ctx, "screenshot", name, path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		return fmt.Errorf("the screenshot is no PNG: %w", err)
	}
	fmt.Printf("  a PNG of %v pixels\n", img.Bounds().Size())
	return nil
}

// cleanUp ends what the demo started, whatever state it is in.
func (d *demo) cleanUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	say("clean up")
	var err error
	for _, args := range [][]string{{"stop", "--all", "--force"}, {"net", "down"}, {"delete", name, "--disks", "--yes"}} {
		if _, e := d.kvmctl(ctx, args...); e != nil && err == nil {
			err = e
		}
	}
	if err != nil {
		return err // what is left is worth a look
	}
	return os.RemoveAll(d.root)
}

// nothingLeft proves the demo's last promise after its own clean-up.
func (d *demo) nothingLeft() error {
	if err := d.cleanUp(); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), d.root) {
		return fmt.Errorf("a mount was left below %s", d.root)
	}
	if _, err := os.Stat("/sys/class/net/" + bridge); err == nil {
		return fmt.Errorf("the bridge %s was left", bridge)
	}
	left, err := processesNaming(d.root)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("processes were left: %v", left)
	}
	fmt.Printf("\nNothing is left behind: no process, no mount, no interface, no file. It took %.0f s.\n", time.Since(d.began).Seconds())
	return nil
}

func (d *demo) howToGoOn() {
	k := fmt.Sprintf("bin/kvmctl --root %s", d.root)
	fmt.Printf("\nThe guest runs on. Go on with:\n  %s console %s     (^] leaves)\n  %s status\nand to end it all:\n"+
		"  %s stop --all; %s net down && rm -r %s\n", k, name, k, k, k, d.root)
}

// processesNaming lists processes whose command line has a string in it, but for this one.
func processesNaming(s string) ([]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), s) && f != fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found, nil
}
