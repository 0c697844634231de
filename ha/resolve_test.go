package ha

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestOneResolvesAtATime: the second is refused until the first has ended or says nothing more; then the first one's copy ends.
func TestOneResolvesAtATime(t *testing.T) {
	const first, second = "20261123-213457-r0", "20261123-213512-r0"
	var r resolving
	t0 := time.Date(2026, 11, 23, 21, 34, 57, 0, time.UTC)
	for _, name := range []string{"", "..", "../../etc", "20261123-213457-../x"} {
		if r.hold(t0, name) == nil {
			t.Errorf("%q names a resolution", name)
		}
	}
	if err := r.hold(t0, first); err != nil {
		t.Fatal(err)
	}
	life, stop := context.WithCancel(t.Context())
	r.keep = &keeping{stop: stop}
	for _, after := range []time.Duration{0, resolvedFor - 1} {
		if err := r.hold(t0.Add(after), second); !errors.Is(err, errResolving) {
			t.Errorf("after %v: %v", after, err)
		}
	}
	if err := r.hold(t0.Add(resolvedFor), second); err != nil || life.Err() == nil {
		t.Errorf("after %v: %v, and the copy: %v", resolvedFor, err, life.Err())
	}
	r.end(first) // it is not his any more
	if err := r.hold(t0.Add(resolvedFor), first); !errors.Is(err, errResolving) {
		t.Error("who was taken for gone ended another one's")
	}
	r.end(second)
	if err := r.hold(t0.Add(resolvedFor), first); err != nil {
		t.Error(err)
	}
}
