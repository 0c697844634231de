package agentcmd

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestALogThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		q := newLogQueue(w)
		for i := range logWaiting + 10 {
			fmt.Fprintf(q, "line %d\n", i)
			synctest.Wait() // the first is on its way, and nobody takes it
		}
		begin := time.Now()
		q.Close()
		if took := time.Since(begin); took != logFlush {
			t.Errorf("its end took %s", took)
		}
		var got bytes.Buffer
		go func() { <-q.ended; w.Close() }()
		if _, err := got.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(got.String()), "\n")
		if len(lines) != logWaiting+2 || lines[0] != "line 0" || !strings.Contains(lines[1], "lost=9") || lines[2] != "line 1" {
			t.Errorf("%d lines, first %q", len(lines), lines[:3])
		}
	})
}
