package parttable_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/vm/image/parttable"
)

const mib = 1 << 20

func empty() disk { return make(disk, 4*mib) }

// show writes a table a line a partition.
func show(t parttable.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", t.Scheme)
	for _, p := range t.Partitions {
		fmt.Fprintf(&b, "%s|%s|%d|%d|%s|%s|%v|%s\n", p.Name, p.Type, p.Start, p.Size, p.FS.Kind, p.FS.Label, p.FS.Dirty, p.Problem)
	}
	for _, n := range t.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

// ext4 is a superblock that says so, with a journal to replay.
func (d disk) ext4(at int64) disk {
	d.magic(at+1024+56, "\x53\xef")
	d.magic(at+1024+0x5c, "\x04")
	d.magic(at+1024+0x60, "\x46") // filetype, recover, extents
	return d.magic(at+1024+0x78, "root\x00")
}

func TestRead(t *testing.T) {
	tests := []struct {
		name string
		disk disk
		want string
	}{
		{"nothing", empty(), "none\nwhole||0|4194304|||false|\n"},
		{"no bytes at all", nil, "none\nwhole||0|0|||false|lies outside of the disk\n"},
		{"a file system on the whole disk", empty().ext4(0), "none\nwhole||0|4194304|ext4|root|true|\n"},
		{"gpt", empty().mbr(0, 0, 0xee, 1, 8191).gpt(1, 2, 512, gptPart{linux, 64, 127}, gptPart{}, gptPart{linux, 128, 8000}).ext4(64 * 512),
			"gpt\n1|linux|32768|32768|ext4|root|true|\n3|linux|65536|4030976|||false|\n"},
		{"gpt with sectors of 4096 bytes", empty().mbr(0, 0, 0xee, 1, 1023).gpt(1, 2, 4096, gptPart{linux, 8, 15}),
			"gpt\n1|linux|32768|32768|||false|\n"},
		{"gpt of which only the backup is sound", empty().mbr(0, 0, 0xee, 1, 8191).gpt(1, 2, 512, gptPart{linux, 64, 127}).magic(512+60, "x").
			gpt(8191, 8180, 512, gptPart{linux, 64, 127}),
			"gpt\n1|linux|32768|32768|||false|\nnote: the first partition table is broken: the backup at the disk's end was read\n"},
		{"gpt whose partitions are impossible", empty().gpt(1, 2, 512, gptPart{linux, 9, 8}, gptPart{linux, 8000, 9000}, gptPart{linux, 1 << 60, 1 << 61}),
			"gpt\n1|linux|-1|0|||false|lies outside of the disk\n2|linux|4096000|512512|||false|reaches beyond the disk's end\n3|linux|-1|0|||false|lies outside of the disk\n"},
		{"mbr", empty().mbr(0, 0, 0x83, 64, 64).mbr(0, 3, 0x42, 128, 64), "mbr\n1|linux|32768|32768|||false|\n4|0x42|65536|32768|||false|\n"},
		{"logical partitions", empty().mbr(0, 0, 0x83, 64, 64).mbr(0, 1, 0x05, 128, 512).
			mbr(128, 0, 0x83, 8, 56).mbr(128, 1, 0x05, 64, 64).mbr(192, 0, 0x82, 8, 56),
			"mbr\n1|linux|32768|32768|||false|\n5|linux|69632|28672|||false|\n6|linux swap|102400|28672|||false|\n"},
		{"logical partitions in a circle", empty().mbr(0, 1, 0x0f, 128, 512).mbr(128, 0, 0x83, 8, 56).mbr(128, 1, 0x05, 0, 64),
			"mbr\n5|linux|69632|28672|||false|\nnote: the list of logical partitions leads back to itself\n"},
		{"freebsd slice", empty().mbr(0, 1, 0xa5, 64, 4096).label(64, bsdPart{1024, 16, 7}, bsdPart{512, 1040, 1}, bsdPart{4096, 0, 0}, bsdPart{512, 1552, 27}),
			"mbr\n2a|freebsd ufs|40960|524288|||false|\n2b|freebsd swap|565248|262144|||false|\n2d|freebsd zfs|827392|262144|||false|\n"},
		{"freebsd slice whose label counts from the disk's beginning", empty().mbr(0, 0, 0xa5, 64, 4096).label(64, bsdPart{1024, 80, 7}, bsdPart{}, bsdPart{4096, 64, 0}),
			"mbr\n1a|freebsd ufs|40960|524288|||false|\n"},
		{"openbsd slice", empty().mbr(0, 0, 0xa6, 64, 4096).label(64, bsdPart{1024, 128, 7}, bsdPart{}, bsdPart{8192, 0, 0}),
			"mbr\n1a|freebsd ufs|65536|524288|||false|\n"},
		{"freebsd slice without a label", empty().mbr(0, 0, 0xa5, 64, 4096), "mbr\n1|freebsd|32768|2097152|||false|\n"},
		{"label on the whole disk, dangerously dedicated", empty().mbr(0, 3, 0xa5, 0, 50000).label(0, bsdPart{1024, 16, 7}, bsdPart{}, bsdPart{8192, 0, 0}).magic(8192+65536+1372, "\x19\x01\x54\x19"),
			"bsd\na|freebsd ufs|8192|524288|ufs2||false|\n"},
		{"label with a wrong checksum", empty().label(0, bsdPart{1024, 16, 7}).magic(512+148, "\x01"), "none\nwhole||0|4194304|||false|\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parttable.Read(bytes.NewReader(tt.disk), int64(len(tt.disk)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, show(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestABrokenGPTIsNoEmptyDisk(t *testing.T) {
	d := empty().mbr(0, 0, 0xee, 1, 8191).gpt(1, 2, 512, gptPart{linux, 64, 127}).magic(512+60, "x")
	_, err := parttable.Read(bytes.NewReader(d), int64(len(d)))
	var broken *parttable.BrokenError
	if !errors.As(err, &broken) || err.Error() != "broken gpt partition table: checksum of the header" {
		t.Errorf("got %v", err)
	}
}

func TestIdentify(t *testing.T) {
	fat := func(at int64, what string) disk {
		return empty().magic(510, "\x55\xaa").magic(at, what).magic(43, "DATA       ").magic(71, "BIG        ").magic(at, what)
	}
	tests := []struct {
		name string
		disk disk
		want parttable.Filesystem
	}{
		{"ext2", empty().magic(1024+56, "\x53\xef").magic(1024+0x60, "\x02"), parttable.Filesystem{Kind: "ext2"}},
		{"ext3", empty().magic(1024+56, "\x53\xef").magic(1024+0x5c, "\x04").magic(1024+0x60, "\x02").magic(1024+0x64, "\x03"), parttable.Filesystem{Kind: "ext3"}},
		{"external journal", empty().magic(1024+56, "\x53\xef").magic(1024+0x60, "\x08"), parttable.Filesystem{Kind: "ext journal"}},
		{"xfs", empty().magic(0, "XFSB").magic(108, "data\x00"), parttable.Filesystem{Kind: "xfs", Label: "data"}},
		{"btrfs", empty().magic(0x10040, "_BHRfS_M").magic(0x1012b, "pool\x00"), parttable.Filesystem{Kind: "btrfs", Label: "pool"}},
		{"ufs1, big-endian", empty().magic(8192+1372, "\x00\x01\x19\x54").magic(8192+680, "usr\x00"), parttable.Filesystem{Kind: "ufs1", Label: "usr", Super: 8192}},
		{"swap", empty().magic(4086, "SWAPSPACE2").magic(1024+28, "sw\x00"), parttable.Filesystem{Kind: "swap", Label: "sw"}},
		{"fat16", fat(54, "FAT16   "), parttable.Filesystem{Kind: "vfat", Label: "DATA"}},
		{"fat32", fat(82, "FAT32   "), parttable.Filesystem{Kind: "vfat", Label: "BIG"}},
		{"exfat", fat(3, "EXFAT   "), parttable.Filesystem{Kind: "exfat"}},
		{"ntfs", fat(3, "NTFS    "), parttable.Filesystem{Kind: "ntfs"}},
		{"lvm", empty().magic(512, "LABELONE").magic(512+24, "LVM2 001"), parttable.Filesystem{Kind: "lvm"}},
		{"luks2", empty().magic(0, "LUKS\xba\xbe\x00\x02").magic(24, "secret\x00"), parttable.Filesystem{Kind: "luks", Label: "secret"}},
		{"zfs", empty().magic(256<<10+128<<10+5<<10, "\x0c\xb1\xba\x00\x00\x00\x00\x00"), parttable.Filesystem{Kind: "zfs"}},
		{"iso9660", empty().magic(32769, "CD001").magic(32808, "DEBIAN  "), parttable.Filesystem{Kind: "iso9660", Label: "DEBIAN"}},
		{"a label that would drive the terminal", empty().magic(0, "XFSB").magic(108, "\x1b[2Jx\xff\x00"), parttable.Filesystem{Kind: "xfs", Label: "\ufffd[2Jx\ufffd"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parttable.Identify(bytes.NewReader(tt.disk), int64(len(tt.disk)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// counting bounds what a table can make us read.
type counting struct {
	r    *bytes.Reader
	read int64
}

func (c *counting) ReadAt(b []byte, off int64) (int, error) {
	c.read += int64(len(b))
	return c.r.ReadAt(b, off)
}

// FuzzRead: whatever a guest wrote, reading ends, is bounded, and gives only partitions that lie on the disk or say that they do not.
func FuzzRead(f *testing.F) {
	small := func(d disk) []byte { return d[:40<<10] }
	f.Add(small(empty().mbr(0, 0, 0xee, 1, 8191).gpt(1, 2, 512, gptPart{linux, 64, 127})))
	f.Add(small(empty().mbr(0, 0, 0x83, 64, 64).mbr(0, 1, 0x05, 128, 512).mbr(128, 0, 0x83, 8, 56).mbr(128, 1, 0x05, 64, 64)))
	f.Add(small(empty().mbr(0, 1, 0xa5, 64, 4096).label(64, bsdPart{1024, 16, 7}, bsdPart{512, 1040, 1}, bsdPart{4096, 0, 0})))
	f.Add(small(empty().ext4(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &counting{r: bytes.NewReader(b)}
		got, err := parttable.Read(r, int64(len(b)))
		if err != nil {
			if got.Scheme != "" || got.Partitions != nil {
				t.Errorf("an error and a table: %v", got)
			}
			var broken *parttable.BrokenError
			if !errors.As(err, &broken) {
				t.Errorf("reading memory failed: %v", err)
			}
			return
		}
		if most := int64(len(got.Partitions)+20)*mib + 16*mib; r.read > most {
			t.Errorf("%d bytes read for %d partitions", r.read, len(got.Partitions))
		}
		seen := map[string]bool{}
		for _, p := range got.Partitions {
			inside := p.Start >= 0 && p.Size > 0 && p.Start <= int64(len(b)) && p.Size <= int64(len(b))-p.Start
			if inside != (p.Problem == "") {
				t.Errorf("partition %+v on a disk of %d bytes", p, len(b))
			}
			if seen[p.Name] {
				t.Errorf("two partitions %s", p.Name)
			}
			seen[p.Name] = true
		}
	})
}
