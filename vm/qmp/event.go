package qmp

import (
	"encoding/json"
	"time"
)

// Event is something QEMU reports on its own.
type Event struct {
	Name string          // such as SHUTDOWN; printable
	Time time.Time       // by the host's clock, to the microsecond; zero when QEMU did not know or sent nonsense
	Data json.RawMessage // a JSON object, or nil
}

// Decode reads the event's data into v, which stays as it is where there are none.
func (e Event) Decode(v any) error {
	if len(e.Data) == 0 {
		return nil
	}
	return json.Unmarshal(e.Data, v)
}

// timestamp is QEMU's: both fields are -1 when its clock could not be read (docs/interop/qmp-spec.txt, 2.5).
type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

// lastSecond is the end of year 9999: encoding/json refuses a later time.
const lastSecond = 253402300799

func (t timestamp) time() time.Time {
	if t.Seconds < 0 || t.Seconds > lastSecond || t.Microseconds < 0 || t.Microseconds > 999_999 {
		return time.Time{}
	}
	return time.Unix(t.Seconds, t.Microseconds*1000)
}

// EventQueue is how many events wait for a reader; of more, the oldest are dropped.
const EventQueue = 256

// enqueue is called by the reading goroutine alone. It never blocks: a full queue loses its oldest event, because the newest (SHUTDOWN)
// is the one that says how it ended.
func (c *Client) enqueue(e Event) {
	for {
		select {
		case c.events <- e:
			return
		default:
		}
		select {
		case <-c.events:
			c.dropped.Add(1)
		default:
		}
	}
}
