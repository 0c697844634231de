package guard_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/internal/units"
	"kvmctl/netbridge"
	"kvmctl/netbridge/guard"
)

// The test binary plays kvmctl and the guard: the variables say which, where, and before which change of its own it is to die.
const (
	asEnv    = "GUARD_TEST_AS"   // apply, down, guard, recover, confirm
	dirEnv   = "GUARD_TEST_DIR"  // of the files
	dieEnv   = "GUARD_TEST_DIE"  // n: SIGKILL before the n-th change that the process makes, counted from 0
	guardEnv = "GUARD_TEST_GDIE" // the same for the guard that it starts; "absent": there is none
	timeEnv  = "GUARD_TEST_TIME" // for the confirmation
)

func TestMain(m *testing.M) {
	if os.Getenv(asEnv) == "" {
		os.Exit(m.Run())
	}
	if err := play(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func filesIn(dir string) guard.Files {
	at := func(name string) string { return filepath.Join(dir, name) }
	return guard.Files{Record: at("record"), Confirmed: at("confirmed"), Last: at("last"), NetLock: at("netlock"), GuardLock: at("guardlock")}
}

func play() error {
	ctx, f := context.Background(), filesIn(os.Getenv(dirEnv))
	k, err := netbridge.NewKernel()
	if err != nil {
		return err
	}
	mortal := &mortal{Kernel: k, left: -1}
	if n, err := strconv.Atoi(os.Getenv(dieEnv)); err == nil {
		mortal.left = n
	}
	open := func() (netbridge.Kernel, func(), error) { return mortal, func() {}, nil }
	switch os.Getenv(asEnv) {
	case "guard":
		signal.Ignore(syscall.SIGHUP)
		return guard.Run(ctx, f, open)
	case "recover":
		_, outcome, err := guard.Recover(ctx, f, open)
		fmt.Println(outcome)
		return err
	case "confirm":
		_, err := guard.Confirm(ctx, f)
		return err
	}
	l, err := flock.TryLock(f.NetLock)
	if err != nil {
		return err
	}
	defer l.Unlock()
	steps, err := steps(ctx, k, os.Getenv(asEnv) == "down")
	if err != nil {
		return err
	}
	timeout, err := time.ParseDuration(os.Getenv(timeEnv))
	if err != nil {
		return err
	}
	moves := []guard.Move{{Bridge: "br0", Uplink: "eth0", MAC: uplinkMAC.String()}}
	if err := guard.Apply(ctx, f, mortal, guard.Change{Steps: steps, Moves: moves, By: "the test", Timeout: timeout}, spawn); err != nil {
		return err
	}
	mortal.step() // after the last: all is done, and nothing is said yet
	return nil
}

var uplinkMAC = units.MAC{0x52, 0x54, 0, 0xee, 0, 1}

func steps(ctx context.Context, k netbridge.Kernel, down bool) ([]netbridge.Step, error) {
	want := []netbridge.Bridge{{Name: "br0", Uplink: "eth0", Keep: true}}
	if down {
		have, err := netbridge.LookDown(ctx, k, []string{"br0"})
		if err != nil {
			return nil, err
		}
		return netbridge.PlanDown(have, []string{"br0"}, want)
	}
	have, err := netbridge.Look(ctx, k, want)
	if err != nil {
		return nil, err
	}
	return netbridge.Plan(have, want)
}

func spawn(context.Context) error {
	die := os.Getenv(guardEnv)
	if die == "absent" {
		return errors.New("no guard to be had")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asEnv+"=guard", dieEnv+"="+die)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// mortal is a kernel whose user dies before a change.
type mortal struct {
	netbridge.Kernel
	left int
}

func (m *mortal) step() {
	if m.left == 0 {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
	m.left--
}

func (m *mortal) CreateBridge(ctx context.Context, name string, mac units.MAC) error {
	m.step()
	return m.Kernel.CreateBridge(ctx, name, mac)
}

func (m *mortal) DeleteBridge(ctx context.Context, name string) error {
	m.step()
	return m.Kernel.DeleteBridge(ctx, name)
}

func (m *mortal) SetAlias(ctx context.Context, name, alias string) error {
	m.step()
	return m.Kernel.SetAlias(ctx, name, alias)
}

func (m *mortal) SetMTU(ctx context.Context, name string, mtu int) error {
	m.step()
	return m.Kernel.SetMTU(ctx, name, mtu)
}

func (m *mortal) SetUp(ctx context.Context, name string, up bool) error {
	m.step()
	return m.Kernel.SetUp(ctx, name, up)
}

func (m *mortal) SetMaster(ctx context.Context, name, bridge string) error {
	m.step()
	return m.Kernel.SetMaster(ctx, name, bridge)
}

func (m *mortal) Give(ctx context.Context, name string, h netbridge.Holding, atOnce bool) error {
	m.step()
	return m.Kernel.Give(ctx, name, h, atOnce)
}

func (m *mortal) Take(ctx context.Context, name string, h netbridge.Holding) error {
	m.step()
	return m.Kernel.Take(ctx, name, h)
}
