package ha

import "time"

// SyncStatus is one [[sync]].
type SyncStatus struct {
	Name  string   `json:"name"`
	Group string   `json:"group"`
	Held  *float64 `json:"held_seconds,omitempty"` // for how long a rollback keeps away what the source has; nil: none does
}

// lookHeld reads which jobs a rollback holds: files, so it is not the loop that does it.
func (c *channel) lookHeld() {
	if c.a.Held == nil {
		return
	}
	c.mu.Lock()
	jobs := c.syncs
	c.mu.Unlock()
	held := map[string]time.Time{}
	for _, j := range jobs {
		since, err := c.a.Held(j)
		if c.unread[j.Name] != (err != nil) {
			c.a.Degrade("record of sync "+j.Name, err)
			c.unread[j.Name] = err != nil
		}
		if !since.IsZero() {
			held[j.Name] = since
		}
	}
	c.mu.Lock()
	c.held = held
	c.mu.Unlock()
}

// syncStatus is what is known of the jobs.
func (c *channel) syncStatus() (all []SyncStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.syncs {
		one := SyncStatus{Name: j.Name, Group: j.Group}
		if since, is := c.held[j.Name]; is {
			ago := max(0, time.Since(since).Seconds()) // the wall clock's: a rollback outlives a boot
			one.Held = &ago
		}
		all = append(all, one)
	}
	return all
}
