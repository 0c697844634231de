package configs

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"kvmctl/configs/strict"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

const editable = `# the DHCP server
#  - of the house

memory   = "512M"   # enough
cpus = 1

# its disks
[[disk]]
image = "root.qcow2"
	# cache = "none"
bus = 'virtio'

# data
[[disk]]
  image = "data.qcow2"  # grows

[vnc]
display = 1 # as on the old host
`

func TestAnEditChangesNothingElse(t *testing.T) {
	tests := []struct {
		name, text string
		words      []string
		old, new   string // what is replaced, once; an empty old: new is appended
	}{
		{"a value", editable, []string{"memory=1G"}, `"512M"`, `"1G"`},
		{"a number", editable, []string{"vnc.display=auto"}, "display = 1 #", `display = "auto" #`},
		{"a value of the second disk", editable, []string{"disk.1.image=d.raw"}, `"data.qcow2"`, `"d.raw"`},
		{"the main key of a table", editable, []string{"disk.1=d.raw"}, `"data.qcow2"`, `"d.raw"`},
		{"a new key above the tables", editable, []string{"cpus_max=4"}, "cpus = 1\n", "cpus = 1\ncpus_max = 4\n"},
		{"a new key of a table", editable, []string{"vnc.password-file=/x"}, "old host\n", "old host\npassword_file = \"/x\"\n"},
		{"a new key of an indented one", editable, []string{"disk.1.readonly=true"}, "# grows\n", "# grows\n  readonly = true\n"},
		{"a key and its line", editable, []string{"cpus="}, "cpus = 1\n", ""},
		{"a key that is not there", editable, []string{"cpus-max="}, "", ""},
		{"a list", editable, []string{"boot=disk,network"}, "cpus = 1\n", "cpus = 1\nboot = [\"disk\", \"network\"]\n"},
		{"a list as in the file", editable, []string{"qemu_args=[\"-rtc\", \"base=utc,clock=vm\"]"}, "cpus = 1\n", "cpus = 1\nqemu_args = [\"-rtc\", \"base=utc,clock=vm\"]\n"},
		{"a new table", editable, []string{"guest.agent=false"}, "", "\n[guest]\nagent = false\n"},
		{"a new disk with two keys", editable, []string{"disk.+.image=c.raw", "disk.+.format=raw"}, "", "\n[[disk]]\nimage = \"c.raw\"\nformat = \"raw\"\n"},
		{"the first drive", editable, []string{"cdrom.+=/iso"}, "", "\n[[cdrom]]\nimage = \"/iso\"\n"},
		{"a disk goes, its comment stays", editable, []string{"disk.1="}, "[[disk]]\n  image = \"data.qcow2\"  # grows\n", ""},
		{"the first disk goes", editable, []string{"disk.0="}, "[[disk]]\nimage = \"root.qcow2\"\n\t# cache = \"none\"\nbus = 'virtio'\n", ""},
		{"an empty file", "", []string{"memory=1G"}, "", "memory = \"1G\"\n"},
		{"no end of the last line", "memory = \"1G\"", []string{"cpus=2"}, "", "\ncpus = 2\n"},
		{"a new table there", "memory = \"1G\"", []string{"nic.+=br0"}, "", "\n\n[[nic]]\nbridge = \"br0\"\n"},
		{"no key above the tables", "# of mine\n\n[vnc]\ndisplay = 1\n", []string{"cpus=2"}, "# of mine\n\n", "# of mine\n\ncpus = 2\n"},
		{"neither key nor comment", "[vnc]\ndisplay = 1\n", []string{"cpus=2"}, "[vnc]", "cpus = 2\n\n[vnc]"},
		{"a table without keys", "[vnc] # none\n[guest]\n", []string{"vnc.display=none"}, "# none\n", "# none\ndisplay = \"none\"\n"},
		{"dotted keys", "vnc.display = 1\ncpus = 1\n", []string{"vnc.listen=::1"}, "display = 1\n", "display = 1\nvnc.listen = \"::1\"\n"},
		{"dotted keys of the last line", "vnc.display = 1", []string{"vnc.listen=::1"}, "", "\nvnc.listen = \"::1\"\n"},
		{"a value between braces", "vnc = { display = 1, listen = '::1' }\n", []string{"vnc.display=2"}, "display = 1", "display = 2"},
		{"a value over lines", "description = \"\"\"\na\nb\"\"\" # two\nafter = [ 'a', # first\n 'b' ] # both\n", []string{"after=c", "description=d"},
			"\"\"\"\na\nb\"\"\" # two\nafter = [ 'a', # first\n 'b' ]", "\"d\" # two\nafter = [\"c\"]"},
		{"lines as DOS ends them", "\ufeffcpus = 1\r\n", []string{"memory=1G", "nic.+=br0"}, "", "memory = \"1G\"\r\n\r\n[[nic]]\r\nbridge = \"br0\"\r\n"},
		{"a disc comes out", "[[cdrom]]\nimage = '/iso'\n", []string{"cdrom.0=eject"}, "'/iso'", `""`},
		{"a quote and a backslash", "cpus = 1\n", []string{`description=a"b\c`}, "", "description = \"a\\\"b\\\\c\"\n"},
	}
	for _, tt := range tests {
		want := tt.text + tt.new
		if tt.old != "" {
			if want = strings.Replace(tt.text, tt.old, tt.new, 1); want == tt.text {
				t.Fatalf("%s: %q is not in the text", tt.name, tt.old)
			}
		}
		edits, err := ParseAssignments(tt.words, []byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, err := Apply([]byte(tt.text), edits)
		if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

func TestSeveralEditsMeanTheFileAsItWas(t *testing.T) {
	const text = "[[nic]]\nbridge = \"a\"\n[[nic]]\nbridge = \"b\"\n[[nic]]\nbridge = \"c\"\n"
	edits, err := ParseAssignments([]string{"nic.0=", "nic.1=", "nic.2.bridge=C", "nic.+=d"}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Apply([]byte(text), edits)
	want := "[[nic]]\nbridge = \"C\"\n\n[[nic]]\nbridge = \"d\"\n"
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestAssignmentsThatAreRefused(t *testing.T) {
	tests := []struct{ word, want, hint string }{
		{"memory", `"memory" is no assignment`, "key=value, such as memory=1G or disk.+.image=data.qcow2"},
		{"=1", `"=1" is no assignment`, "key=value, such as memory=1G or disk.+.image=data.qcow2"},
		{"memroy=1G", `"memroy=1G" names no key: unknown key "memroy"`, `did you mean "memory"?`},
		{"memory.max=1G", `"memory.max=1G" goes one name too far: memory has no parts`, ""},
		{"vnc=1", `"vnc=1" sets a whole table: vnc has "display", "listen", "socket", "password_file" or "tls"`, ""},
		{"vnc.pasword_file=x", `"vnc.pasword_file=x" names no key: unknown key "pasword_file" of vnc`, `did you mean "password_file"?`},
		{"disk=x", `"disk=x" does not say which disk`, "disk.0.image=x, or disk.+.image=x for a new one"},
		{"disk.x.image=x", `"disk.x.image=x" has "x" where the number of a disk belongs`, "the first one is disk.0; a new one disk.+"},
		{"disk.2.image=x", `"disk.2.image=x" names a disk that is not there`, "disk.+.image=x adds one"},
		{"nic.0=", `"nic.0=" names a nic that is not there`, "nic.+.bridge= adds one"},
		{"nic.+=", `"nic.+=" adds a nic with nothing in it`, ""},
	}
	for _, tt := range tests {
		_, err := ParseAssignments([]string{tt.word}, []byte(editable))
		var e *AssignError
		if !errors.As(err, &e) || e.Error() != tt.want || e.Hint() != tt.hint {
			t.Errorf("%s: got %v, hint %q; want %s, hint %q", tt.word, err, hintOf(err), tt.want, tt.hint)
		}
	}
	if _, err := ParseAssignments([]string{"cpus=1", "cpus=2"}, nil); err == nil || err.Error() != `"cpus=2" sets cpus a second time` {
		t.Errorf("twice: %v", err)
	}
}

func TestWhatIsWrittenInOneLineIsLeftAlone(t *testing.T) {
	tests := []struct{ text, word, want string }{
		{"disk = [{image = 'a'}]\n", "disk.+=b", "disk is written between braces or brackets, and only whole values can be changed there"},
		{"disk = [{image = 'a'}]\n", "disk.0=", "disk is written between braces or brackets, and only whole values can be changed there"},
		{"vnc = {display = 1}\n", "vnc.listen=::1", "vnc is written between braces or brackets, and only whole values can be changed there"},
		{"vnc = {display = 1}\n", "vnc.display=", "vnc.display is written between braces or brackets, and only whole values can be changed there"},
	}
	for _, tt := range tests {
		edits, err := ParseAssignments([]string{tt.word}, []byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.word, err)
			continue
		}
		if got, err := Apply([]byte(tt.text), edits); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %q, %v; want %s", tt.word, got, err, tt.want)
		}
	}
}

// FuzzApply: a file that the decoder takes still is one after an edit, says what was set, and all else as before.
func FuzzApply(f *testing.F) {
	f.Add(editable, "2G")
	f.Add(GuestReference, "1")
	f.Add("a.b = 1 # x\r\n[c]\r\n", "x\"\\")
	f.Add("a = [1, # x\n2]\nb = '''\n'''", "\x01")
	f.Add("memory = '1'", "")
	f.Add("[[memory]]\n", "x")
	f.Fuzz(func(t *testing.T, text, value string) {
		d := strict.Parse("f", []byte(text), nil)
		if d.Tree == nil || len(d.Problems) > 0 {
			return
		}
		switch d.Tree["memory"].(type) {
		case map[string]any, []map[string]any, []any:
			return // no value of a key
		}
		edits, err := ParseAssignments([]string{"memory=" + value}, []byte(text))
		if err != nil {
			return
		}
		got, err := Apply([]byte(text), edits)
		if err != nil {
			return
		}
		after := map[string]any{}
		if _, err := toml.Decode(strings.TrimLeft(string(got), "\ufeff"), &after); err != nil {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
		if value == "" {
			delete(d.Tree, "memory")
		} else {
			d.Tree["memory"] = value
		}
		if !reflect.DeepEqual(d.Tree, after) && !strings.Contains(text, "nan") {
			t.Fatalf("%q became %q:\n%s", text, got, cmp.Diff(d.Tree, after))
		}
	})
}
