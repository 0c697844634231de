package ha

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Case 4: the agent decides by CLOCK_BOOTTIME alone. time.Now carries the wall clock, so each use of it is listed here with what it is for.
func TestTheWallClockDecidesNothing(t *testing.T) {
	allowed := map[string]int{
		"clock_linux.go": 1, // Reading.Wall: only to tell an RTC that was set from a freeze
		"clock_other.go": 1, // the monotonic clock of an unsupported system
		"worker.go":      1, // how long an act took: a difference, for the log
		"control.go":     2, // a socket's deadlines, which the runtime takes by the monotonic clock
	}
	for _, dir := range []string{".", "carp", "failover"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), "time.Now()"); n != allowed[f] {
				t.Errorf("%s: time.Now %d times, expected %d", f, n, allowed[f])
			}
		}
	}
}
