package qmp_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/vm/qmp"
	"kvmctl/vm/qmp/qmptest"
)

const (
	logHello = qmptest.Greeting + "\r\n" + `{"return": {}}` + "\r\n"
	logStop  = `{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "STOP"}` + "\r\n"
	logDown  = `{"timestamp": {"seconds": 1700000001, "microseconds": 6}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}` + "\r\n"
)

func stopAt(off int64) qmp.LogEntry {
	return qmp.LogEntry{Offset: off, End: off + int64(len(logStop)), Event: qmp.Event{Name: "STOP", Time: time.Unix(1700000000, 5000)}}
}

func downAt(off int64) qmp.LogEntry {
	return qmp.LogEntry{Offset: off, End: off + int64(len(logDown)), Event: qmp.Event{Name: "SHUTDOWN", Time: time.Unix(1700000001, 6000),
		Data: []byte(`{"guest": true, "reason": "guest-shutdown"}`)}}
}

func TestLogOfARecorder(t *testing.T) {
	hello, stop, down := int64(len(logHello)), int64(len(logStop)), int64(len(logDown))
	long := strings.Repeat("x", 70<<10)
	for _, tt := range []struct {
		name    string
		log     string
		offset  int64
		entries []qmp.LogEntry
		report  qmp.LogReport
	}{
		{"empty", "", 0, nil, qmp.LogReport{}},
		{"a whole run", logHello + logStop + logDown, 0, []qmp.LogEntry{stopAt(hello), downAt(hello + stop)}, qmp.LogReport{End: hello + stop + down, Greetings: 1}},
		{"read on from the middle", logDown, 5000, []qmp.LogEntry{downAt(5000)}, qmp.LogReport{End: 5000 + down}},
		{"two runs in one file", logHello + logDown + logHello, 0, []qmp.LogEntry{downAt(hello)}, qmp.LogReport{End: 2*hello + down, Greetings: 2}},
		{"a hole in front", strings.Repeat("\x00", 100_000) + logDown, 0, []qmp.LogEntry{downAt(100_000)}, qmp.LogReport{End: 100_000 + down, Holes: 100_000}},
		{"nothing but a hole", strings.Repeat("\x00", 100_000), 0, nil, qmp.LogReport{End: 100_000, Holes: 100_000}},
		{"holes between lines", logStop + "\x00\x00" + logDown + "\x00", 0, []qmp.LogEntry{stopAt(0), downAt(stop + 2)}, qmp.LogReport{End: stop + down + 3, Holes: 3}},
		{"the last line cut", logStop + logDown[:40], 0, []qmp.LogEntry{stopAt(0)}, qmp.LogReport{End: stop, Cut: 40}},
		{"the last line cut before its end of line", logStop + strings.TrimSuffix(logDown, "\r\n"), 0, []qmp.LogEntry{stopAt(0)}, qmp.LogReport{End: stop, Cut: down - 2}},
		{"garbage between", "hello\n\n[1]\r\n" + logDown, 0, []qmp.LogEntry{downAt(12)}, qmp.LogReport{End: 12 + down, Garbage: 3}},
		{"an overlong line", long + "\n" + logDown, 0, []qmp.LogEntry{downAt(70<<10 + 1)}, qmp.LogReport{End: 70<<10 + 1 + down, Garbage: 1}},
		{"an overlong event", `{"event": "STOP", "data": {"x": "` + long + "\"}}\n" + logDown, 0, []qmp.LogEntry{downAt(70<<10 + 37)}, qmp.LogReport{End: 70<<10 + 37 + down, Garbage: 1}},
		{"an overlong last line", logDown + long, 0, []qmp.LogEntry{downAt(0)}, qmp.LogReport{End: down, Cut: 70 << 10}},
		{"written on behind a cut line", logStop + logStop[:20] + logDown, 0, []qmp.LogEntry{stopAt(0), downAt(stop + 20)}, qmp.LogReport{End: stop + 20 + down, Torn: 1}},
		{"negotiated again behind a cut line", logStop[:20] + logHello + logDown, 0, []qmp.LogEntry{downAt(20 + hello)}, qmp.LogReport{End: 20 + hello + down, Greetings: 1, Torn: 1}},
		{"cut to nothing but the brace", "{" + logDown, 0, []qmp.LogEntry{downAt(1)}, qmp.LogReport{End: 1 + down, Torn: 1}},
		{"a clock that could not be read", `{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP"}` + "\n", 0,
			[]qmp.LogEntry{{End: 68, Event: qmp.Event{Name: "STOP"}}}, qmp.LogReport{End: 68}},
		{"a time beyond all calendars", `{"timestamp": {"seconds": 9223372036854775807, "microseconds": 0}, "event": "STOP"}` + "\n", 0,
			[]qmp.LogEntry{{End: 84, Event: qmp.Event{Name: "STOP"}}}, qmp.LogReport{End: 84}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entries, report, err := qmp.ParseLog(strings.NewReader(tt.log), tt.offset)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.entries, entries); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.report, report); d != "" {
				t.Error(d)
			}
			entries, again, err := qmp.ParseLog(iotest.OneByteReader(strings.NewReader(tt.log)), tt.offset)
			if d := cmp.Diff(tt.entries, entries); d != "" || err != nil {
				t.Error("byte by byte:", err, d)
			}
			if d := cmp.Diff(report, again); d != "" {
				t.Error("byte by byte:", d)
			}
		})
	}
}

func TestLogThatCannotBeRead(t *testing.T) {
	broken := errors.New("broken")
	entries, report, err := qmp.ParseLog(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(logStop))), 0)
	if err != iotest.ErrTimeout || entries != nil || report.Cut != 0 || report.End != 0 {
		t.Errorf("%v %+v %v", entries, report, err)
	}
	if _, _, err := qmp.ParseLog(iotest.ErrReader(broken), 0); err != broken {
		t.Error(err)
	}
}

func TestLogIsCollectedUpToABound(t *testing.T) {
	const n = 65_536
	log := strings.Repeat(logStop, n+1)
	entries, report, err := qmp.ParseLog(strings.NewReader(log), 0)
	if err != nil || len(entries) != n || !report.More || report.End != int64(n*len(logStop)) {
		t.Fatalf("%d entries, %+v, %v", len(entries), report, err)
	}
	entries, report, err = qmp.ParseLog(strings.NewReader(log[report.End:]), report.End)
	if err != nil || len(entries) != 1 || report.More || report.End != int64(len(log)) {
		t.Errorf("%d entries, %+v, %v", len(entries), report, err)
	}
}

func TestLogStartSkipsWhatWasPunchedOut(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// 4 GiB were written and harvested in the life of this log.
	const at = 4 << 30
	if _, err := f.WriteAt([]byte(logStop), at); err != nil {
		t.Fatal(err)
	}
	off, err := qmp.LogStart(f, 0)
	if err != nil || off < at-1<<20 || off > at {
		t.Fatalf("%d, %v; want about %d", off, err, int64(at))
	}
	if _, err := f.Seek(off, 0); err != nil {
		t.Fatal(err)
	}
	entries, _, err := qmp.ParseLog(f, off)
	if d := cmp.Diff([]qmp.LogEntry{stopAt(at)}, entries); d != "" || err != nil {
		t.Error(err, d)
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, at+int64(len(logStop))); err != nil {
		t.Fatal(err)
	}
	if off, err := qmp.LogStart(f, 0); err != nil || off < at-1<<20 || off > at+int64(len(logStop)) {
		t.Errorf("all harvested: %d, %v", off, err)
	}
	if off, err := qmp.LogStart(f, at*2); err != nil || off != at+int64(len(logStop)) {
		t.Errorf("from behind the end: %d, %v", off, err)
	}
}
