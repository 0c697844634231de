package lint

import (
	"fmt"

	"kvmctl/ha/drbd/conf"
)

// The least that makes sense, below which a unit was forgotten.
const (
	slowest  = 1 << 20  // bytes a second of a resync
	smallest = 32 << 10 // bytes of a socket's buffer (drbd.conf(5): "values below 32K do not make sense")
)

// slips tells of numbers whose unit is another one than was meant.
func (l *linter) slips() {
	l.options(func(o conf.Option) {
		what := o.Name + " " + o.Value.Text
		switch o.Name {
		case "resync-rate", "c-max-rate":
			if n, ok := conf.Number(o.Value.Text, 1<<10); ok && n > 0 && n < slowest {
				l.say(Warning, o.At, what, fmt.Sprintf("KiB a second without a suffix: a resync of 100 GiB takes %s, and so long the other node cannot take over", long(100<<30/n)), o.Name+" 33M; a third of a gigabit link")
			}
		case "sndbuf-size", "rcvbuf-size":
			if n, ok := conf.Number(o.Value.Text, 1); ok && n > 0 && n < smallest {
				l.say(Warning, o.At, what, "bytes without a suffix, and below 32K none makes sense (drbd.conf(5))", o.Name+" 0; the kernel finds it")
			}
		case "disk-timeout":
			if n, ok := conf.Number(o.Value.Text, 1); ok && n > 0 {
				l.say(Warning, o.At, what, fmt.Sprintf("after %g s a slow disk is given up, and what it completes later can overwrite memory: it may panic the kernel (drbd.conf(5): this option is dangerous)", float64(n)/10), "disk-timeout 0;")
			}
		}
	})
}

// long writes seconds as hours or days.
func long(seconds uint64) string {
	if hours := seconds / 3600; hours < 48 {
		return fmt.Sprintf("%d hours", hours)
	}
	return fmt.Sprintf("%d days", seconds/86400)
}
