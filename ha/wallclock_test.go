package ha

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wallClock is everything that the wall clock can be read by.
var wallClock = regexp.MustCompile(`\btime\.Now\b|\bCLOCK_REALTIME|\bGettimeofday\b|\.ModTime\(\)`)

// Case 4, a clock that jumps by an hour: the agent decides by CLOCK_BOOTTIME alone. time.Now carries the wall clock beside the runtime's
// monotonic one, so each use of it in any package is listed here with what it is for. What a jump does to the only one that is compared with
// another clock, Reading.Wall, is in TestFreezeIsSeenByTheRTC's table; "difference" is a time that is only subtracted within the process, which
// the runtime does by the monotonic clock.
func TestCase04TheWallClockDecidesNothing(t *testing.T) {
	allowed := map[string]struct {
		uses int
		why  string
	}{
		"ha/clock_linux.go":                    {1, "Reading.Wall: only to tell an RTC that was set from a freeze"},
		"ha/clock_other.go":                    {1, "difference: the monotonic clock of an unsupported system"},
		"ha/worker.go":                         {1, "difference: how long an act took, for the log"},
		"ha/control.go":                        {2, "difference: a socket's deadlines"},
		"ha/audit/log.go":                      {1, "for people: when it happened"},
		"ha/notify/post.go":                    {1, "for people: the date of a message, and the order of their files"},
		"ha/notify/try.go":                     {1, "for people: the date of a message"},
		"ha/check/ping.go":                     {1, "difference: for people, in the reason of a failure"},
		"ha/check/once.go":                     {1, "difference: how long a question took, for people"},
		"ha/confsync/tree.go":                  {2, "two files' own times, compared with each other"},
		"ha/confsync/fresh.go":                 {5, "files' own times, compared with each other; the time that a file gets"},
		"ha/confsync/assemble.go":              {1, "a directory's own time, which its copy gets"},
		"ha/confsync/record.go":                {1, "a file's own time, compared with what it was"},
		"ha/confsync/version.go":               {1, "for people: when somebody rolled back"},
		"ha/syncdue.go":                        {1, "the time of day at which files are copied"},
		"ha/syncwatch.go":                      {1, "a figure that was not told before"},
		"ha/confsync/watch_linux.go":           {1, "difference: a deadline"},
		"ha/check/dial.go":                     {1, "difference: for people, in the reason of a failure"},
		"ha/check/disk_linux.go":               {1, "difference: for people, in the reason of a failure"},
		"ha/check/tcp.go":                      {1, "difference: for people, in the reason of a failure"},
		"ha/check/process_linux.go":            {1, "difference: how long ago a process ended"},
		"ha/unit/sysv.go":                      {1, "difference: how long a unit has had to settle"},
		"ha/peer/clock.go":                     {1, "difference: deadlines, and rates of connections"},
		"ha/arbiter/clock.go":                  {1, "difference: deadlines; for people: when it was written"},
		"ha/fence/fence.go":                    {1, "for people: when a node was asked to end, and did"},
		"ha/drbd/control/watch_linux.go":       {1, "difference: how long a stream was of use"},
		"ha/mount/kill_linux.go":               {2, "difference: a deadline"},
		"ha/storage/keeper.go":                 {1, "for people: when a record was written"},
		"ha/resolve.go":                        {1, "for people: when it was kept"},
		"ha/verify.go":                         {2, "the time of day at which both sides are compared"},
		"cmd/internal/agentcmd/drbdverify.go":  {2, "difference: how long nothing was said"},
		"cmd/internal/agentcmd/drbdresolve.go": {7, "for people: a name; differences: how long it has waited"},
		"cmd/internal/agentcmd/handlers.go":    {1, "for people: when a record was written"},
		"ha/link/rtnl_linux.go":                {1, "difference: the deadline of the kernel's answer"},
	}
	seen := map[string]bool{}
	for _, dir := range []string{"ha", "configs/kvmha", "cmd/internal/agentcmd", "cmd/kvmha"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, e fs.DirEntry, err error) error {
			name := strings.TrimPrefix(path, "../")
			switch {
			case err != nil:
				return err
			case e.IsDir() && name == "ha/hatest": // the lab of the tests
				return fs.SkipDir
			case e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			seen[name] = true
			if n := len(wallClock.FindAll(text, -1)); n != allowed[name].uses {
				t.Errorf("%s reads the wall clock %d times, expected %d (%s)", name, n, allowed[name].uses, allowed[name].why)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("%s is gone", name)
		}
	}
}
