package netbridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// undoTime bounds the way back, which is walked even when the caller's context has ended.
const undoTime = 5 * time.Second

// ensureTries bounds how often Ensure plans anew because another kvmctl made the same bridge at the same moment.
const ensureTries = 5

// Apply carries out steps in order. When one fails, what this call did is undone in reverse, and the error names the step
// and whatever could not be undone; a bridge that this call made is kept when something joined it meanwhile.
func Apply(ctx context.Context, k Kernel, steps []Step) error {
	type done struct {
		step Step
		undo undo
	}
	var did []done
	made := map[string]bool{}
	for _, s := range steps {
		back, err := apply(ctx, k, s)
		if err == nil {
			// What happened to a bridge of this call's making goes with the bridge. Undone one by one, it would be taken down under
			// the guest of another kvmctl that already uses it.
			if back != nil && !made[s.links()[0]] {
				did = append(did, done{s, back})
			}
			if _, ok := s.(CreateBridge); ok {
				made[s.links()[0]] = true
			}
			continue
		}
		errs := []error{fmt.Errorf("%s: %w", s, err)}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		for i := len(did) - 1; i >= 0; i-- {
			if err := did[i].undo(ctx); err != nil {
				errs = append(errs, fmt.Errorf("undo %q: %w", did[i].step, err))
			}
		}
		return errors.Join(errs...)
	}
	return nil
}

func apply(ctx context.Context, k Kernel, s Step) (undo, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return s.apply(ctx, k)
}

// Ensure makes the wanted bridges complete and gives the steps that it took. When nothing is missing it looks at nothing but
// the wanted bridges. What is dangerous for the host is refused with a *DangerousError. Each bridge is applied for itself: one that was completed stays when a later one fails.
//
// Several at once, in one process or many, all succeed. Yet one that fails or is cancelled takes back its last bridge, which
// another may just have found complete: callers that go on to use the bridge hold a lock until they do.
func Ensure(ctx context.Context, k Kernel, want []Bridge) ([]Step, error) {
	if len(want) == 0 {
		return nil, nil
	}
	if err := checkAll(want); err != nil {
		return nil, err
	}
	have, err := look(ctx, k, want, false)
	if err != nil {
		return nil, err
	}
	if steps, err := Plan(have, want); err != nil || len(steps) == 0 {
		return nil, err
	}
	var took []Step
	for i := range want {
		steps, err := ensureOne(ctx, k, want[i:i+1])
		took = append(took, steps...)
		if err != nil {
			return took, err
		}
	}
	return took, nil
}

// ensureOne makes one bridge complete, and plans anew when someone else makes it at the same moment.
func ensureOne(ctx context.Context, k Kernel, want []Bridge) ([]Step, error) {
	var last error
	for range ensureTries {
		have, err := look(ctx, k, want, false)
		if l, exists := find(have, want[0].Name); err == nil && exists && (!l.Ours() || l.VLANFiltering != want[0].VLANFiltering) {
			have, err = look(ctx, k, want, true) // whether it is ours after all, and may change so, depends on its ports
		}
		if err != nil {
			return nil, err
		}
		steps, err := Plan(have, want)
		if err == nil && slices.ContainsFunc(steps, Dangerous) {
			err = &DangerousError{Bridge: want[0].Name}
		}
		if err != nil {
			return nil, err
		}
		if last = Apply(ctx, k, steps); last == nil {
			return steps, nil
		}
		// The name was taken since: by another kvmctl, then less is left to do, or by a stranger, then Plan says so.
		if !errors.Is(last, fs.ErrExist) {
			return nil, last
		}
	}
	return nil, last
}
