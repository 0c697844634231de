package qmp

import (
	"bytes"
	"fmt"
	"testing"
)

func TestAnAgentsWordOnAProgramIsRead(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"exited":false}`, `{false 0 0 [] [] false false}`},
		{`{"exited":true,"exitcode":3,"out-data":"aGk=","err-data":"AP8=","out-truncated":true}`, `{true 3 0 [104 105] [0 255] true false}`},
		{`{"exited":true,"signal":9}`, `{true 0 9 [] [] false false}`},
		{`{"exited":true,"exitcode":-1073741510}`, `{true -1073741510 0 [] [] false false}`},
		{`{}`, "the answer does not say whether it exited"},
		{`null`, "the answer does not say whether it exited"},
		{`{"exited":true,"out-data":"?"}`, "decode the answer: illegal base64 data at input byte 0"},
		{`{"exited":true,"exitcode":1e99}`, "decode the answer: json: cannot unmarshal number 1e99 into Go struct field execStatus.exitcode of type int64"},
		{`[]`, "decode the answer: json: cannot unmarshal array into Go value of type qmp.execStatus"},
	}
	for _, tt := range tests {
		s, err := parseExecStatus([]byte(tt.in))
		got := fmt.Sprint(s)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.in, got, tt.want)
		}
	}
}

func FuzzExecStatus(f *testing.F) {
	for _, s := range []string{`{"exited":true,"exitcode":3,"out-data":"aGk="}`, `{"exited":1}`, `{"exited":true,"out-data":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseExecStatus(b)
		if err != nil && (s.Exited || s.Out != nil) {
			t.Errorf("%q: %v and %v", b, s, err)
		}
		if err == nil && bytes.Count(b, []byte("exited")) == 0 && !bytes.Contains(bytes.ToLower(b), []byte("exited")) && !bytes.Contains(b, []byte(`\u`)) {
			t.Errorf("%q said nothing of an end, and was taken", b)
		}
	})
}
