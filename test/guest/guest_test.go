package guest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kvmctl/internal/testenv"
)

func TestBootsToAPromptThatAnswers(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, "host=olorin").ready()
	m.expect(Prompt)
	m.typed("echo $((6*7))x on $(hostname)")
	m.expect(`\n42x on olorin\r\n`)
	m.typed("uname -r")
	images, err := Build(t.Context(), DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	if got := m.expect(`\n([0-9].*)\r\n`)[1]; got != images.Release {
		t.Errorf("uname -r is %q, Images.Release %q", got, images.Release)
	}
	m.typed("poweroff")
	m.expect(Off)
	m.shutDown()
}

func TestRebootStartsAgain(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, "").ready()
	m.expect(Prompt)
	m.typed("reboot")
	m.event("RESET")
	m.ready()
}

func TestPowerButtonTurnsItOff(t *testing.T) {
	t.Parallel()
	for _, machineType := range []string{"q35", "pc"} {
		m := boot(t, plain, "", "-machine", machineType).ready()
		pressed := time.Now()
		m.command("system_powerdown")
		m.shutDown()
		t.Logf("%s: off %.2f s after the button", machineType, time.Since(pressed).Seconds())
	}
}

func TestNoButtonIgnoresThePowerButton(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, NoButton).ready()
	m.expect(Prompt)
	m.command("system_powerdown")
	m.event("POWERDOWN")
	m.typed("sleep 2; echo still $((1+1)) here") // an obedient guest is off within half a second
	m.expect(`\nstill 2 here`)
}

func TestSlowButtonTakesItsTime(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, SlowButton+"3").ready()
	pressed := time.Now()
	m.command("system_powerdown")
	m.shutDown()
	if took := time.Since(pressed); took < 3*time.Second {
		t.Errorf("off after %s, want at least 3s", took)
	}
}

func TestHangNeverBecomesReady(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, Hang)
	m.expect(Hangs)
	m.command("system_powerdown")
	m.event("POWERDOWN")
	var status struct{ Status string }
	if err := json.Unmarshal(m.command("query-status"), &status); err != nil || status.Status != "running" {
		t.Errorf("status %+v, %v", status, err)
	}
	if strings.Contains(m.console.text(), Ready) {
		t.Error("it says that it is ready")
	}
}

func TestExitPowersOffByItself(t *testing.T) {
	t.Parallel()
	boot(t, plain, Exit+"1").ready().shutDown()
}

func TestPanicEndsInTheKernel(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, Panic+" panic=-1", "-no-reboot").ready()
	m.expect("Kernel panic - not syncing: sysrq triggered crash")
	if msg := m.event("SHUTDOWN"); !msg.Data.Guest || msg.Data.Reason != "guest-reset" {
		t.Errorf("SHUTDOWN with %+v", msg.Data)
	}
}

func TestStaticAddressReachesTheGateway(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, "ip=10.77.0.2/24 gw=10.77.0.1", "-nic", "user,net=10.77.0.0/24,host=10.77.0.1,restrict=on,model=virtio-net-pci")
	m.expect(Ready + ` after [0-9.]+s 10\.77\.0\.2/24`)
	m.expect(Prompt)
	m.typed("ping -c 1 -w 20 10.77.0.1; ip route")
	m.expect(`1 packets received`)
	m.expect(`default via 10\.77\.0\.1 dev eth0`)
}

func TestDHCPGivesAnAddress(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, "ip=dhcp", "-nic", "user,net=10.77.0.0/24,host=10.77.0.1,dhcpstart=10.77.0.33,restrict=on,model=virtio-net-pci")
	m.expect(Ready + ` after [0-9.]+s 10\.77\.0\.33/24`)
}

func TestDisksOfEveryBusCanBeMounted(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, disk, device, machine string }{
		{"virtio", "vda", "virtio-blk-pci,drive=d", "q35"},
		{"scsi", "sda", "scsi-hd,drive=d", "q35"},
		{"ide", "sda", "ide-hd,drive=d", "pc"}, // the cloud kernel has no AHCI: no SATA on q35
	}
	for _, tt := range tests {
		m := boot(t, plain, "", "-machine", tt.machine, "-device", "virtio-scsi-pci", "-device", tt.device,
			"-drive", "if=none,id=d,format=raw,file.driver=null-co,file.size=64M,file.read-zeroes=on")
		m.ready().expect(Prompt)
		m.typed("cat /sys/block/" + tt.disk + "/size")
		m.expect(`\n131072\r\n`)
	}
	// A real file system, kept over a reboot.
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 16<<20); err != nil {
		t.Fatal(err)
	}
	m := boot(t, plain, "", "-drive", "if=virtio,format=raw,file="+file).ready()
	m.expect(Prompt)
	m.typed("mke2fs -q /dev/vda && mount -t ext4 /dev/vda /mnt || { mkdir /mnt; mount -t ext4 /dev/vda /mnt; }; echo kept >/mnt/f; poweroff")
	m.shutDown()
	m = boot(t, plain, "", "-drive", "if=virtio,format=raw,file="+file).ready()
	m.expect(Prompt)
	m.typed("mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; cat /mnt/f")
	m.expect(`\nkept\r\n`)
}

func TestADiskPluggedIntoTheRunningGuestIsThere(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, "", "-device", "pcie-root-port,id=p1,chassis=1,slot=1",
		"-drive", "if=none,id=d,format=raw,file.driver=null-co,file.size=1M").ready()
	m.expect(Prompt)
	m.commandWith("device_add", `{"driver":"virtio-blk-pci","drive":"d","bus":"p1","id":"late"}`)
	m.typed("until [ -b /dev/vda ]; do sleep 0.1; done; echo disk $((1+1)) is there")
	m.expect(`\ndisk 2 is there`)
}

var agentDevices = []string{"-device", "virtio-serial", "-chardev", "socket,path=$DIR/qga,server=on,wait=off,id=qga",
	"-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0"}

// ask sends one line to the agent and returns the first line of its answer, or "" after limit.
func (m *machine) ask(line string, limit time.Duration) string {
	m.t.Helper()
	conn := m.dial("qga")
	defer conn.Close()
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		m.t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(limit))
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && !os.IsTimeout(err) {
		m.t.Fatal(err)
	}
	return answer
}

func TestAgentAnswersAndShutsDown(t *testing.T) {
	t.Parallel()
	m := boot(t, withAgent, "", agentDevices...).ready()
	if got, want := m.ask(`{"execute":"guest-ping"}`, patience), "{\"return\": {}}\n"; got != want {
		t.Errorf("guest-ping: %q, want %q", got, want)
	}
	conn := m.dial("qga")
	if _, err := io.WriteString(conn, `{"execute":"guest-shutdown"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	m.shutDown()
}

func TestMuteAgentTakesTheChannelAndSaysNothing(t *testing.T) {
	t.Parallel()
	m := boot(t, withAgent, MuteAgent, agentDevices...).ready()
	m.expect(Prompt)
	if got := m.ask(`{"execute":"guest-ping"}`, 2*time.Second); got != "" {
		t.Errorf("guest-ping: %q", got)
	}
	m.typed("kill -CONT $(cat /run/qemu-ga.pid)") // it was asleep, not absent
	if got, want := m.ask(`{"execute":"guest-ping"}`, patience), "{\"return\": {}}\n"; got != want {
		t.Errorf("guest-ping after waking it: %q, want %q", got, want)
	}
}

func TestFloodOfTheConsole(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, FloodConsole).ready()
	for range 500 {
		m.expect(`the quick brown fox jumps over the lazy dog\r\n`)
	}
	m.command("system_powerdown")
	m.shutDown()
}

func TestFloodOfEvents(t *testing.T) {
	t.Parallel()
	for _, machineType := range []string{"q35", "pc"} {
		m := boot(t, plain, FloodEvents, "-machine", machineType, "-smp", "1,maxcpus=2").ready()
		began := time.Now()
		for range 2000 {
			m.event("ACPI_DEVICE_OST")
		}
		t.Logf("%s: %.0f events a second", machineType, 2000/time.Since(began).Seconds())
		// The answer and the SHUTDOWN event may be lost behind the flood: QEMU ends without waiting for a reader that is behind.
		if _, err := io.WriteString(m.qmp, `{"execute":"system_powerdown"}`+"\n"); err != nil {
			t.Fatal(err)
		}
		m.expect("reboot: Power down")
		m.ended()
	}
}

func TestFloodOfDiskErrors(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, FloodDisk, "-device", "virtio-blk-pci,drive=d,rerror=report",
		"-blockdev", `{"driver":"blkdebug","node-name":"d","image":{"driver":"null-co","size":1048576},"inject-error":[{"event":"none","iotype":"read","errno":5}]}`)
	m.ready()
	for range 100 {
		m.event("BLOCK_IO_ERROR")
	}
	m.command("system_powerdown")
	m.shutDown()
}

func TestFloodOfResets(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, FloodReset)
	for range 2 {
		m.event("RESET")
	}
}

func TestScreenShowsThatItIsReady(t *testing.T) {
	t.Parallel()
	m := boot(t, plain, "", "-vga", "std").ready()
	m.expect(Prompt)
	m.typed("dd if=/dev/vcs1 bs=4000 count=1 2>/dev/null | grep -o '" + Ready + " after' | sed s/^/screen:/")
	m.expect(`\nscreen:` + Ready + ` after`)
	file := filepath.Join(m.dir, "screen.png")
	m.commandWith("screendump", `{"filename":"`+file+`","format":"png"}`)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if n := lit(picture); n < 1000 {
		t.Errorf("%d pixels of %v are lit: no text on the screen", n, picture.Bounds())
	}
}

func lit(picture image.Image) (n int) {
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			if color.GrayModel.Convert(picture.At(x, y)).(color.Gray).Y > 128 {
				n++
			}
		}
	}
	return n
}

func TestAFilledCacheNeedsNoNetworkAndGivesTheSameBytes(t *testing.T) {
	testenv.Need(t, testenv.QEMU)
	want, err := Build(t.Context(), DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	if err := os.CopyFS(filepath.Join(cache, "packages"), os.DirFS(filepath.Join(DefaultDir(), "packages"))); err != nil {
		t.Fatal(err)
	}
	fakeApt(t, "echo no network >&2; exit 100", "echo no network >&2; exit 100")
	var got [3]Images
	var errs [3]error
	var builders sync.WaitGroup
	for i := range got {
		builders.Go(func() { got[i], errs[i] = Build(t.Context(), cache) })
	}
	builders.Wait()
	for i := range got {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if got[i] != got[0] {
			t.Errorf("builders at the same time got %+v and %+v", got[0], got[i])
		}
	}
	for a, b := range map[string]string{want.Kernel: got[0].Kernel, want.Initrd: got[0].Initrd, want.AgentInitrd: got[0].AgentInitrd} {
		if out, err := exec.Command("cmp", a, b).CombinedOutput(); err != nil {
			t.Errorf("built again from the same packages: %s", out)
		}
	}
	left, err := filepath.Glob(filepath.Join(cache, "*.tmp*"))
	if hidden, _ := filepath.Glob(filepath.Join(cache, ".tmp*")); err != nil || len(left)+len(hidden) > 0 {
		t.Errorf("left behind: %v %v", left, hidden)
	}
}
