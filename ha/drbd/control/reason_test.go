package control

import (
	"errors"
	"strings"
	"testing"
)

// TestExplain has what drbdadm of drbd-utils 9.22 said on two guests with DRBD 8.4.11, and where that is rare, after its source.
func TestExplain(t *testing.T) {
	const quoted = "Command 'drbdsetup-84 connect r0 ipv4:10.91.0.1:7788 --protocol=C --shared-secret=mellon --timeout=10' terminated with exit code 10\n"
	tests := []struct{ name, stderr, want string }{
		{"no good data", "0: State change failed: (-2) Need access to UpToDate data\nCommand 'drbdsetup-84 primary 0' terminated with exit code 17\n",
			"drbd primary r0: no up-to-date data (-2 Need access to UpToDate data)"},
		{"two primaries", "0: State change failed: (-1) Multiple primaries not allowed by config\n", "drbd primary r0: the peer is primary (-1 Multiple primaries not allowed by config)"},
		{"held open", "0: State change failed: (-12) Device is held open by someone\n", "drbd primary r0: the device is held open (-12 Device is held open by someone)"},
		{"fencing", "0: State change failed: (-7) Refusing to be Primary while peer is not outdated\n",
			"drbd primary r0: the peer is not known to be fenced (-7 Refusing to be Primary while peer is not outdated)"},
		{"no algorithm", "0: State change failed: (-14) Need a verify algorithm to start online verify\n",
			"drbd primary r0: no verify-alg is configured (-14 Need a verify algorithm to start online verify)"},
		{"down", "0: Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor\n", "drbd primary r0: the resource is down (127 Device minor not allocated)"},
		{"down, with a secret", "r0: Failure: (158) Unknown resource\nadditional info from kernel:\nunknown resource\n" + quoted, "drbd primary r0: the resource is down (158 Unknown resource)"},
		{"a number of another kind", "r0: Failure: (102) Local address(port) already in use.\n" + quoted, "drbd primary r0: drbd says no (102 Local address(port) already in use)"},
		{"only the command, with a secret", quoted, "drbd primary r0: drbd says no"},
		{"a secret elsewhere", "exec drbdsetup connect --shared-secret=mellon --x: bad", "drbd primary r0: drbd says no: exec drbdsetup connect --shared-secret=…"},
		{"metadata", "No valid meta data found\n", "drbd primary r0: no valid metadata on the disk"},
		{"metadata, kernel", "0: Failure: (119) No valid meta-data signature found.\n\n\t==> Use 'drbdadm create-md res' to initialize meta-data area. <==\n",
			"drbd primary r0: no valid metadata on the disk (119 No valid meta-data signature found)"},
		{"no disk", "open(/dev/vdz) failed: No such file or directory\nCommand 'drbdmeta 0 v08 /dev/vdz internal apply-al' terminated with exit code 20\n", "drbd primary r0: the disk cannot be used"},
		{"undefined", "'r9' not defined in your config (for this host).\n", "drbd primary r0: the resource is not in drbd.conf for this host"},
		{"no file", "Can not open '/etc/drbd.conf': No such file or directory\n", "drbd primary r0: drbd.conf cannot be read"},
		{"parse error", "/etc/drbd.conf:7: Parse error: 'an option keyword' expected,\n\tbut got 'mellon'\n", "drbd primary r0: drbd.conf cannot be read: /etc/drbd.conf:7"},
		{"another error of the file", "/etc/drbd.d/r0.res:3: conflicting use of shared-secret 'mellon'\n", "drbd primary r0: drbd.conf cannot be read: /etc/drbd.d/r0.res:3"},
		{"no module", "sh: /sbin/modprobe: not found\nFailed to modprobe drbd (No such file or directory)\n", "drbd primary r0: the kernel module drbd is missing"},
		{"nothing", "", "drbd primary r0: drbd says no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := explain("primary", "r0", tt.stderr)
			if err.Error() != tt.want {
				t.Errorf("%s\nwant %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "mellon") {
				t.Error("it tells the secret")
			}
			if !errors.Is(err, err.Reason) {
				t.Error("errors.Is does not find the reason")
			}
		})
	}
}

// What drbdmeta prints of an ext4 on the whole disk.
func TestWhyThereIsNoRoom(t *testing.T) {
	e := explain("create-md", "r0", "")
	e.explainRoom("md_offset 67104768\nFound ext3 filesystem\n       65536 kB data area apparently used\n       65496 kB left usable by current configuration\n\nDevice size would be truncated, which\nwould corrupt data")
	if want := "drbd create-md r0: a file system is where its metadata would be: it has 65536 KiB, and 65496 KiB may be left to it"; e.Error() != want {
		t.Errorf("%s\nwant %s", e, want)
	}
	e = explain("create-md", "r0", "")
	if e.explainRoom("65536 kB data area apparently used\n 65496 kB left usable\n even if larger"); e.Reason != Other {
		t.Error("a disk with room has none")
	}
}

func FuzzExplain(f *testing.F) {
	f.Add("r0: Failure: (158) Unknown resource\nCommand 'drbdsetup-84 connect --shared-secret=", " --x' terminated\n")
	f.Add("/etc/drbd.conf:7: Parse error: but got '", "'\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "s3cr3t-word"
		err := explain("connect", "r0", before+"--shared-secret="+secret+after)
		if strings.Contains(err.Error(), secret) {
			t.Errorf("it tells the secret: %s", err)
		}
	})
}

func TestEachReasonHasItsSentence(t *testing.T) {
	if len(reasons) != int(NoRoom)+1 {
		t.Errorf("%d sentences", len(reasons))
	}
}
