package peer

import "time"

// now is the one place where this package reads a clock: for deadlines and differences, which the runtime takes by the monotonic one.
func now() time.Time { return time.Now() }
