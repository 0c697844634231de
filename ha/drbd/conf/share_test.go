package conf_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/drbd/conf"
)

// sameMeaning tells what two readings of one configuration differ in: meanings, or places; a column may be unknown in the second.
func sameMeaning(a, b *conf.Config) (all []string) {
	for _, d := range conf.Diff(a, b) {
		all = append(all, fmt.Sprint(d))
	}
	fa, fb := a.Facts(), b.Facts()
	if len(fa) != len(fb) {
		return append(all, fmt.Sprintf("%d facts, %d", len(fa), len(fb)))
	}
	for i, f := range fa {
		x, y := f.Value.At, fb[i].Value.At
		if y.Column == 0 {
			x.Column = 0
		}
		if x != y || f.What != fb[i].What {
			all = append(all, fmt.Sprintf("%s %s at %v, %s %s at %v", f.About, f.What, x, fb[i].About, fb[i].What, y))
		}
	}
	return all
}

func TestWhatIsSharedMeansTheSame(t *testing.T) {
	for _, name := range files(t, "corpus") {
		c, err := read(t, name)
		if err != nil {
			t.Fatal(err)
		}
		texts, err := conf.Share(conf.Dir("testdata"), "/"+name)
		if err != nil {
			t.Fatal(err)
		}
		there, err := conf.Load(texts, "", "/"+name)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, texts["/"+name])
		}
		for _, d := range sameMeaning(c, there) {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// No secret is in what is shared, wherever somebody may have left one.
func TestNoSecretIsShared(t *testing.T) {
	const text = `# shared-secret "TOPSECRET1";
global { usage-count no; } # TOPSECRET2
common {
	net { cram-hmac-alg sha1; shared-secret "TOP\"SECRET3"; verify-alg crc32c; }
	skip net { shared-secret "TOPSECRET4";
		verify-alg md5; }
}
skip resource old { net { shared-secret TOPSECRET5; } # }
}
include "more.res";
resource r1 {
	net { shared-secert "TOPSECRET6"; TOPSECRET7 x; shared-secret # TOPSECRET8
		TOPSECRET9; }
	on a { device /dev/drbd1; disk /dev/x; meta-disk internal; address [fe80::1%eth0]:7789; } #TOPSECRET10`
	source := conf.Memory{"/etc/drbd.conf": []byte(text + "\n}"), "/etc/more.res": []byte("resource r2 { net { shared-secret TOPSECRET11; } on a { address 10.0.0.1:7790; } }\n#")}
	here, err := conf.Load(source, "", conf.Main)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := conf.Share(source, conf.Main)
	if err != nil || len(texts) != 2 {
		t.Fatalf("%v, %v", texts, err)
	}
	for name, text := range texts {
		if bytes.Contains(text, []byte("TOP")) || bytes.Contains(text, []byte("SECRET")) {
			t.Errorf("%s:\n%s", name, text)
		}
		if want, got := bytes.Count(source[name], []byte("\n")), bytes.Count(text, []byte("\n")); want != got {
			t.Errorf("%s has %d lines of %d", name, got, want)
		}
	}
	there, err := conf.Load(texts, "", conf.Main)
	if err != nil {
		t.Fatalf("%v\n%s", err, texts[conf.Main])
	}
	for _, d := range sameMeaning(here, there) {
		t.Error(d)
	}
	var problems [2][]string
	for i, c := range []*conf.Config{here, there} {
		for _, p := range c.Problems {
			problems[i] = append(problems[i], fmt.Sprintf("%s:%d %s %s", p.At.File, p.At.Line, p.Why, p.Near))
		}
	}
	if diff := cmp.Diff(problems[0], problems[1]); diff != "" || len(problems[0]) != 2 {
		t.Errorf("problems (-here +there):\n%s", diff)
	}
}

// Another secret is another digest, and behind one only the line is known.
func TestASharedSecretIsCompared(t *testing.T) {
	load := func(secret string, share bool) *conf.Config {
		source := conf.Memory{conf.Main: []byte("common { net { shared-secret " + secret + "; verify-alg crc32c; }\ndisk { fencing resource-only; } }\nresource r { }")}
		if share {
			var err error
			if source, err = conf.Share(source, conf.Main); err != nil {
				t.Fatal(err)
			}
		}
		c, err := conf.Load(source, "b:", conf.Main)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if all := conf.Diff(load("x", false), load(`"x"`, true)); len(all) != 0 {
		t.Errorf("the same: %v", all)
	}
	if all := conf.Diff(load("x", false), load("y", true)); len(all) != 1 || all[0].What != "net shared-secret" || all[0].There.At.String() != "b:/etc/drbd.conf:1:16" {
		t.Errorf("another: %+v", all)
	}
	var places []string
	for _, o := range load("x", true).Common {
		places = append(places, o.At.String())
	}
	if want := []string{"b:/etc/drbd.conf:1:16", "b:/etc/drbd.conf:1", "b:/etc/drbd.conf:2:8"}; !slices.Equal(places, want) {
		t.Errorf("places %v", places)
	}
}

func FuzzShare(f *testing.F) {
	for _, dir := range []string{"corpus", "refused"} {
		for _, name := range files(f, dir) {
			text, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Add([]byte("common { net { # x\n SECRET y; shared-secret \"a\"; protocol C; skip a { # }\n } } }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		source := conf.Memory{conf.Main: text}
		here, err := conf.Load(source, "", conf.Main)
		texts, err2 := conf.Share(source, conf.Main)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%v, shared %v", err, err2)
		}
		if err != nil {
			return
		}
		there, err := conf.Load(texts, "", conf.Main)
		if errors.Is(err, conf.ErrTooLong) {
			return
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, texts[conf.Main])
		}
		if all := sameMeaning(here, there); len(all) > 0 {
			t.Fatalf("%s\n%s", strings.Join(all, "\n"), texts[conf.Main])
		}
		if again, err := conf.Share(texts, conf.Main); err != nil || !bytes.Equal(again[conf.Main], texts[conf.Main]) {
			t.Fatalf("%v\n%s\n%s", err, again[conf.Main], texts[conf.Main])
		}
	})
}
