package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArchiveIsExactlyNewc(t *testing.T) {
	var got bytes.Buffer
	err := writeCPIO(&got, []entry{
		{name: "dev", mode: typeDir | 0o755},
		{name: "dev/console", mode: typeChar | 0o600, major: 5, minor: 1},
		{name: "init", mode: typeFile | 0o755, data: []byte("hello")},
		{name: "sh", mode: typeSymlink | 0o777, data: []byte("busybox!")},
	})
	if err != nil {
		t.Fatal(err)
	}
	// cpio(5): magic, then ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check.
	want := "070701" + "00000001" + "000041ed" + "00000000" + "00000000" + "00000002" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000004" + "00000000" + "dev\x00\x00\x00" +
		"070701" + "00000002" + "00002180" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000005" + "00000001" + "0000000c" + "00000000" + "dev/console\x00\x00\x00" +
		"070701" + "00000003" + "000081ed" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00\x00" + "hello\x00\x00\x00" +
		"070701" + "00000004" + "0000a1ff" + "00000000" + "00000000" + "00000001" + "00000000" + "00000008" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000003" + "00000000" + "sh\x00\x00\x00\x00" + "busybox!" +
		"070701" + "00000000" + "00000000" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000000" + "0000000b" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Errorf("archive (-want +got):\n%s", d)
	}
}

func TestArchiveRefusesNamesItCannotHold(t *testing.T) {
	for _, name := range []string{"", "/init", "a\x00b"} {
		err := writeCPIO(io.Discard, []entry{{name: name}})
		want := fmt.Sprintf("archive entry 0: bad name %q", name)
		if err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", name, err, want)
		}
	}
}

func TestEqualTreesGiveEqualBytes(t *testing.T) {
	a := entry{name: "lib/x/a", mode: typeFile | 0o644, data: []byte("a")}
	b := entry{name: "bin/b", mode: typeFile | 0o755, data: []byte("b")}
	one, err1 := pack([]entry{a, b})
	two, err2 := pack([]entry{b, a})
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if !bytes.Equal(one, two) {
		t.Error("the order in which files were found shows in the archive")
	}
	if _, err := pack([]entry{a, a}); err == nil || err.Error() != "archive lib/x/a: named twice" {
		t.Errorf("a file named twice: error %v", err)
	}
}

// readCPIO is a second, independent understanding of the format.
func readCPIO(b []byte) ([]entry, error) {
	var entries []entry
	for {
		if len(b) < 110 || string(b[:6]) != "070701" {
			return nil, errors.New("no header")
		}
		field := func(i int) int {
			v, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				panic(err)
			}
			return int(v)
		}
		e := entry{mode: uint32(field(1)), major: uint32(field(9)), minor: uint32(field(10))}
		nameEnd := 110 + field(11)
		dataStart := (nameEnd + 3) &^ 3
		dataEnd := dataStart + field(6)
		e.name = strings.TrimSuffix(string(b[110:nameEnd]), "\x00")
		e.data = b[dataStart:dataEnd]
		b = b[(dataEnd+3)&^3:]
		if e.name == "TRAILER!!!" {
			if len(b) != 0 {
				return nil, errors.New("bytes after the trailer")
			}
			return entries, nil
		}
		entries = append(entries, e)
	}
}

func FuzzArchiveReadsBackAsWritten(f *testing.F) {
	f.Add("init", []byte("x"), "etc/y", []byte{}, uint32(0o100644))
	f.Add("a", []byte("1234"), "bb", []byte("12345"), uint32(0))
	f.Fuzz(func(t *testing.T, n1 string, d1 []byte, n2 string, d2 []byte, mode uint32) {
		in := []entry{{name: n1, mode: mode, data: d1}, {name: n2, mode: typeDir, data: d2, major: mode, minor: 7}}
		var b bytes.Buffer
		if writeCPIO(&b, in) != nil || n1 == "TRAILER!!!" || n2 == "TRAILER!!!" {
			return
		}
		out, err := readCPIO(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for i := range in {
			if out[i].name != in[i].name || out[i].mode != in[i].mode || !bytes.Equal(out[i].data, in[i].data) || out[i].major != in[i].major {
				t.Errorf("wrote %+v, read %+v", in[i], out[i])
			}
		}
	})
}
