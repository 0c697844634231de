package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"unicode/utf8"
)

var seeds = []string{
	`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}`,
	`{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}`,
	`{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "RESET"}`,
	`{"return": {}, "id": "ab-1"}`, `{"return": null}`, `{"id": 5, "error": {"class": "GenericError", "desc": "no"}}`,
	`{"error": null}`, `{"QMP": null}`, `{"event": "\u001b[2J"}`, `null`, `[]`, `{}`, "", "\xff", "{\"a\":" + strings.Repeat("[", 200),
}

// FuzzDecode: exactly one part of a decoded message is set, it is safe to print and to store, and a refusal quotes nothing.
func FuzzDecode(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decode(line)
		if err != nil {
			if _, ok := err.(errLine); !ok || m != (message{}) {
				t.Fatalf("error %T %v with message %+v", err, err, m)
			}
			return
		}
		parts := 0
		if m.greeting != nil {
			parts++
		}
		if m.event != nil {
			parts++
			checkEvent(t, *m.event)
		}
		if m.reply != nil {
			parts++
			if (m.reply.err == nil) != (m.reply.value != nil) {
				t.Fatalf("reply %+v", m.reply)
			}
		}
		if parts != 1 {
			t.Fatalf("%d parts in %+v", parts, m)
		}
	})
}

func checkEvent(t *testing.T, e Event) {
	t.Helper()
	if e.Name == "" || !utf8.ValidString(e.Name) || strings.ContainsAny(e.Name, "\x00\x1b\r\n") {
		t.Fatalf("name %q", e.Name)
	}
	if _, err := json.Marshal(e); err != nil {
		t.Fatalf("cannot be stored: %v", err)
	}
	var data map[string]any
	if err := e.Decode(&data); err != nil {
		t.Fatalf("data %q: %v", e.Data, err)
	}
	convert(e)
}

// FuzzReadLine: whatever the sizes of buffer and bound, the lines are those of the input, none beyond the bound.
func FuzzReadLine(f *testing.F) {
	f.Add([]byte("a\nbb\r\n\nccc"), 3)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		limit = 1 + max(limit, -limit-1)%100
		br := bufio.NewReaderSize(bytes.NewReader(in), 16)
		for at := 0; ; {
			line, n, err := readLine(br, limit)
			if n > limit || len(line) > n {
				t.Fatalf("%d bytes, line of %d, bound %d", n, len(line), limit)
			}
			rest := in[at:]
			if !bytes.HasPrefix(rest, line) {
				t.Fatalf("line %q of %q", line, rest)
			}
			if err != nil {
				if err == io.EOF && n != len(rest) {
					t.Fatalf("%d of %d bytes", n, len(rest))
				}
				return
			}
			at += n
			if in[at-1] != '\n' {
				t.Fatal("no end of line")
			}
		}
	})
}

// FuzzLog: any file ends, offsets rise and stay inside, each byte is accounted for, and reading on at an entry's end gives the rest.
func FuzzLog(f *testing.F) {
	f.Add([]byte(strings.Join(seeds, "\r\n")))
	f.Add([]byte("\x00\x00" + seeds[1] + "\r\n" + seeds[1][:30] + seeds[2] + "\n\x00x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		entries, report, err := ParseLog(bytes.NewReader(in), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if report.End+report.Cut != 1000+int64(len(in)) {
			t.Fatalf("%+v of %d bytes", report, len(in))
		}
		at := int64(1000)
		for i, e := range entries {
			if e.Offset < at || e.End <= e.Offset || e.End > report.End {
				t.Fatalf("entry %+v after %d", e, at)
			}
			at = e.End
			checkEvent(t, e.Event)
			if i == len(entries)/2 {
				rest, again, err := ParseLog(bytes.NewReader(in[e.End-1000:]), e.End)
				if err != nil || len(rest) != len(entries)-i-1 || again.End != report.End || again.Cut != report.Cut {
					t.Fatalf("read on at %d: %d entries, %+v, %v; want %d, %+v", e.End, len(rest), again, err, len(entries)-i-1, report)
				}
			}
		}
	})
}

// FuzzAgent: whatever the guest sends, the client ends in time, holds no more than its bound, and takes no answer that is not a JSON value.
func FuzzAgent(f *testing.F) {
	f.Add([]byte("\xff{\"return\": 1}\n{\"return\": {}}\n"))
	f.Add([]byte("{\"error\": {\"class\": \"x\", \"desc\": \"y\"}}\n\xff\xff\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		ours, theirs := net.Pipe()
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			defer theirs.Close()
			_, _ = theirs.Write(in)
		}()
		a := &Agent{conn: ours, limit: 256, turn: make(chan struct{}, 1), br: bufio.NewReader(ours), synced: true}
		for range 8 {
			line, err := a.line()
			if len(line) > a.limit {
				t.Fatalf("line of %d bytes", len(line))
			}
			if err == nil {
				if m, err := decode(line); err == nil && m.reply != nil && m.reply.err == nil && !json.Valid(m.reply.value) {
					t.Fatalf("value %q", m.reply.value)
				}
			}
		}
		if a.offset > int64(len(in)) {
			t.Fatalf("%d of %d bytes", a.offset, len(in))
		}
		if err := a.findSync(1 << 60); err == nil && !bytes.Contains(in, []byte("1152921504606846976")) {
			t.Fatal("found a sync that was never sent")
		}
		ours.Close()
		<-fed
	})
}
