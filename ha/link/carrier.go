package link

import "time"

// CarrierConfig is how long a link must be what it is before it counts.
type CarrierConfig struct {
	UpDelay   time.Duration // that it stayed up, before it counts as up
	DownDelay time.Duration // likewise down
	HoldMin   time.Duration // that a link which was lost must stay up at least, before it counts again; doubles with each further loss
	HoldMax   time.Duration // the most that it doubles to
}

// Carrier is the pure machine that makes one steady fact of a link that may flap. Each loss doubles the time that the link has to stay up
// before it counts again, also a loss that nobody was told of because it was too short or came while it did not count; a link that
// stayed up as long as HoldMax is forgiven everything.
type Carrier struct {
	cfg     CarrierConfig
	raw     bool
	changed time.Time // when raw became what it is
	up      bool      // what is told
	losses  int       // not yet forgiven
}

// NewCarrier begins with a link as it is: a machine that starts with a cable need not wait.
func NewCarrier(cfg CarrierConfig, now time.Time, raw bool) *Carrier {
	return &Carrier{cfg: cfg, raw: raw, changed: now, up: raw}
}

// Up is what counts.
func (c *Carrier) Up() bool { return c.up }

// Hold is how long the link has to stay up, before it counts again.
func (c *Carrier) Hold() time.Duration {
	if c.losses == 0 {
		return c.cfg.UpDelay
	}
	hold := c.cfg.HoldMin
	for n := 1; n < c.losses && hold < c.cfg.HoldMax; n++ {
		hold *= 2
	}
	return max(c.cfg.UpDelay, min(hold, c.cfg.HoldMax))
}

// Step takes what the kernel says, and tells whether what counts has changed. A turn of the clock is a step with the same.
func (c *Carrier) Step(now time.Time, raw bool) (changed bool) {
	changed = c.settle(now)
	if raw != c.raw {
		if c.raw = raw; !raw {
			c.losses++
		}
		c.changed = now
		changed = c.settle(now) != changed // both: it changed and changed back, unheard
	}
	return changed
}

// settle brings what counts up to date.
func (c *Carrier) settle(now time.Time) bool {
	stayed := now.Sub(c.changed)
	if c.raw && stayed >= c.cfg.HoldMax {
		c.losses = 0
	}
	if c.up == c.raw || stayed < c.wait() {
		return false
	}
	c.up = c.raw
	return true
}

// wait is how long the link must be what it is.
func (c *Carrier) wait() time.Duration {
	if c.raw {
		return c.Hold()
	}
	return c.cfg.DownDelay
}

// Next is when a step is due even if the kernel says nothing; zero: never.
func (c *Carrier) Next() time.Time {
	if c.up == c.raw {
		return time.Time{}
	}
	return c.changed.Add(c.wait())
}
