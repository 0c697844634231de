package agentcmd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
)

const storageTOML = `node = "a"
[peer.b]
addresses = ["10.0.0.2"]
[group.files]
interface = "eth0"
vhid = 1
addresses = ["10.0.0.9"]
password = "x"
alone = "a"
[[group.files.drbd]]
resource = "r0"
[[group.files.mount]]
device = "/dev/drbd0"
directory = "/srv"
`

// A file that adds storage is judged by the same rules whether it is there at the start or comes by a reload, on this machine as it is then.
func TestAFileWithUnsafeStorageIsRefused(t *testing.T) {
	root := etc(t, map[string]string{"drbd.conf": drbdGood + drbdPair, "hostname": "a", "kvmha.toml": storageTOML})
	a := &app{env: &cli.Env{Prog: "kvmha", Err: t.Output()}, root: root}
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if spec, err := a.loadSafe(t.Context()); err != nil || len(spec.Groups) != 1 {
		t.Fatalf("%+v, %v", spec, err)
	}
	for _, tt := range []struct{ name, file, text, want string }{
		{"fstab", "fstab", "/dev/drbd0 /srv ext4 defaults 0 2\n", root + "/etc/fstab:1:1: mounts /dev/drbd0 on /srv at boot"},
		{"another device", "kvmha.toml", strings.Replace(storageTOML, "/dev/drbd0", "/dev/drbd1", 1), root + `/etc/kvmha.toml: group "files" mounts /dev/drbd1 on /srv`},
		{"another resource", "kvmha.toml", strings.Replace(storageTOML, `"r0"`, `"r1"`, 1), root + `/etc/kvmha.toml: group "files" has resource r1, and drbd.conf has not`},
		{"data discarded", "drbd.conf", strings.Replace(drbdGood, "net {", "net { after-sb-1pri violently-as0p;", 1) + drbdPair, root + "/etc/drbd.conf:3:8: after-sb-1pri violently-as0p"},
		{"nobody can judge", "drbd.conf", "oops", "cannot read drbd.conf: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, err := os.ReadFile(filepath.Join(root, "etc", tt.file))
			put(tt.file, tt.text)
			defer func() {
				if put(tt.file, string(before)); err != nil {
					os.Remove(filepath.Join(root, "etc", tt.file))
				}
			}()
			_, err2 := a.loadSafe(t.Context())
			if unsafe, ok := errors.AsType[*ha.UnsafeError](err2); !ok || !strings.HasPrefix(unsafe.Error(), "storage is not safe here: "+tt.want) {
				t.Errorf("%v", err2)
			}
			if err := unsafeToRun("run", err2); cli.Code(err) != cli.ExitUsage || !strings.HasPrefix(err.Error(), "cannot run the agent: storage is not safe here: ") {
				t.Errorf("%v", err)
			}
		})
	}
	put("fstab", "/dev/drbd0 /srv ext4 defaults 0 2\n")
	plain, _, _ := strings.Cut(storageTOML, "alone =")
	put("kvmha.toml", plain)
	if _, err := a.loadSafe(t.Context()); err != nil {
		t.Errorf("a file without storage: %v", err)
	}
}
