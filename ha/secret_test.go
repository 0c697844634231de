package ha

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

func TestASecretNeverPrintsItself(t *testing.T) {
	const password = "hunter2"
	g := DefaultGroup("web")
	g.Password = NewSecret(password)
	type hidden struct {
		secret Secret
		group  Group
		list   []Secret
		table  map[string]Secret
	}
	h := hidden{g.Password, g, []Secret{g.Password}, map[string]Secret{"a": g.Password}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%p", "%t"} {
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
		fmt.Fprintf(&out, verb+"\n", g)
		fmt.Fprintf(&out, verb+"\n", g.Password)
		fmt.Fprintf(&out, verb+"\n", &g.Password)
		fmt.Fprintf(&out, verb+"\n", h.list)
	}
	b, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("group", "password", g.Password, "group", g, "hidden", h)
	}
	for _, leak := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%X", password)} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the password shows as %q in\n%s", leak, out.String())
		}
	}
	if !strings.Contains(out.String(), secretText) {
		t.Errorf("%q shows nowhere:\n%s", secretText, out.String())
	}
}

func TestSecretsAreComparedByWhatTheyHold(t *testing.T) {
	a, b, c := NewSecret("x"), NewSecret("x"), NewSecret("y")
	if !a.Equal(b) || a.Equal(c) || !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, c) {
		t.Error("x, x and y are compared wrongly")
	}
	if !NewSecret("").IsZero() || !NewSecret("").Equal(Secret{}) || a.IsZero() || a.Reveal() != "x" {
		t.Error("the empty secret is not the zero one")
	}
}
