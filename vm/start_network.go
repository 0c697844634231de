package vm

import (
	"context"
	"slices"
)

// openNetworkMeanwhile begins what openNetwork waits for: the kernel needs a millisecond for each TAP.
func (s *starting) openNetworkMeanwhile(ctx context.Context) {
	spec := *s.spec
	spec.NICs = slices.Clone(spec.NICs)
	for i := range spec.NICs {
		spec.NICs[i].MAC, spec.NICs[i].Number = s.p.ABI.NICs[i].MAC, i
	}
	s.tapsMade = make(chan struct{})
	go func() {
		defer close(s.tapsMade)
		s.taps, s.tapsErr = s.h.Network(ctx, &spec, s.uid)
	}()
	// They vanish with their last descriptor, so closing ours is the whole undo.
	s.onUndo(func() {
		<-s.tapsMade
		for _, f := range slices.Concat(s.taps...) {
			f.Close()
		}
	})
}

func (s *starting) openNetwork(context.Context) error {
	if len(s.spec.NICs) == 0 {
		return nil
	}
	if <-s.tapsMade; s.tapsErr != nil {
		return s.tapsErr
	}
	for i, queues := range s.taps {
		for q, f := range queues {
			s.files.byName[fdNIC(i, q)] = f
		}
	}
	return s.openVHost()
}
