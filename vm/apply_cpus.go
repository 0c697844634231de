package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kvmctl/vm/qmp"
)

// setCPUs plugs CPUs in or asks the guest to let go of some, the last first.
func (e *executor) setCPUs(ctx context.Context, o *Outcome) error {
	have := e.live.CPUCount()
	if err := plugCPUs(ctx, e.mon, e.live, e.file.CPUs, func(n int) { have, e.rec.Applied.CPUs = n, n }); err != nil {
		return err
	}
	for i, c := range slices.Backward(e.live.CPUs) {
		if have <= e.file.CPUs {
			break
		}
		if c.Path == "" {
			continue
		}
		gone, err := e.unplug(ctx, strings.TrimPrefix(c.Path, peripheral))
		if refused := new(qmp.Error); errors.As(err, &refused) {
			return fmt.Errorf("take CPU %d: %w", i, err)
		}
		if err != nil {
			return err
		}
		if !gone {
			e.guestHasNot(o, "the guest does not let go of CPU %d", i)
			return nil
		}
		have--
		e.rec.Applied.CPUs = have
	}
	e.rec.Applied.CPUs, e.rec.Applied.CPUsMax = e.file.CPUs, e.file.CPUsMax
	a, closeAgent, err := e.agent(ctx)
	if err != nil {
		if have > e.rec.Started.CPUs {
			e.unknown(o, "added, not seen by the guest: it has no agent that tells")
		}
		return nil
	}
	defer closeAgent()
	online := 0
	ok, err := waitFor(ctx, guestTime, func(ctx context.Context) (bool, error) {
		var err error
		online, err = a.OnlineCPUs(ctx)
		return online >= have, err
	})
	if refused := new(qmp.Error); errors.As(err, &refused) {
		e.unknown(o, "added, not seen by the guest: its agent cannot tell")
		return nil
	}
	if err != nil {
		return fmt.Errorf("bring CPUs online in the guest: %w", err)
	}
	if !ok {
		e.guestHasNot(o, "the guest has %d of %d online", online, have)
		return nil
	}
	o.Note = fmt.Sprintf("the guest has %d online", online)
	return nil
}
