package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const takeover = 60 * time.Second // within which a take-over has to come: tcg on a busy machine is slow

var (
	once  = []mode{withPDU}
	three = []mode{withPDU, withSilent, withJudge}
)

// scenarios are the rows of varda.
func scenarios() []scenario {
	return []scenario{
		{"switch", "planned switch-over", once, func(ctx context.Context, s *stage) error {
			s.mark()
			if _, err := s.a.sh(ctx, "kvmha switch varda --timeout 60s"); err != nil {
				return err
			}
			return s.movedTo(ctx, s.b)
		}},
		{"stop", "clean stop of the primary's agent", once, func(ctx context.Context, s *stage) error {
			s.mark()
			if err := s.a.stop(ctx); err != nil {
				return err
			}
			return s.movedTo(ctx, s.b)
		}},
		{"power", "power cut of the primary", three, func(ctx context.Context, s *stage) error {
			s.mark()
			if err := s.a.cut(ctx); err != nil {
				return err
			}
			return s.takenOver(ctx)
		}},
	}
}

// movedTo waits until a member is active and the client is served.
func (s *stage) movedTo(ctx context.Context, m *machine) error {
	if err := m.role(ctx, takeover, "active"); err != nil {
		return err
	}
	return s.w.client.more(ctx, 20*time.Second, 10)
}

// takenOver is how it has to end when the primary has gone: b serves, unless the PDU is silent; then it waits, with the alarm.
func (s *stage) takenOver(ctx context.Context) error {
	if s.how == withSilent {
		return s.waits(ctx, s.b)
	}
	return s.movedTo(ctx, s.b)
}

// waits waits for the alarm of a member that may not go on.
func (s *stage) waits(ctx context.Context, m *machine) error {
	if err := m.until(ctx, takeover, "kvmha status varda | grep -q 'alarm: nobody-active'"); err != nil {
		return err
	}
	st, err := m.status(ctx)
	if err != nil {
		return err
	}
	g := st.Groups[0]
	if g.Role == "active" || !strings.Contains(g.Override, "confirm-dead") {
		return fmt.Errorf("%s is %s, missing %q, override %q: %w", m.name, g.Role, g.Missing, g.Override, errEnd)
	}
	return nil
}

var errEnd = errors.New("that is not how it has to end")
