package main

import (
	"context"
	"time"
)

// plainScenarios are the rows of olorin: an address with DNS and DHCP, and no storage. Nobody has to be asked.
func plainScenarios() []scenario {
	row := func(name, title string, play func(context.Context, *stage) error) scenario {
		return scenario{"olorin-" + name, "olorin: " + title, []mode{withNobody}, play, false}
	}
	return []scenario{
		row("switch", "planned switch-over", plannedSwitch),
		row("stop", "clean stop of the primary's agent", cleanStop),
		row("kill", "kill −9 of the agent", func(ctx context.Context, s *stage) error {
			s.mark()
			if _, err := s.a.sh(ctx, "kill -9 $(cat /run/kvmha.pid)"); err != nil {
				return err
			}
			s.w.note(s.a.name, "", "dead")
			return s.movedTo(ctx, s.b)
		}),
		row("power", "power cut of the primary", func(ctx context.Context, s *stage) error {
			s.mark()
			if err := s.a.cut(ctx); err != nil {
				return err
			}
			return s.movedTo(ctx, s.b)
		}),
		row("service", "service killed", serviceKilled),
		row("broken", "service killed, and it cannot start again", serviceBroken),
		row("cable", "service link of the primary cut", serviceLinkCut),
		row("freeze", "frozen primary that thaws", func(ctx context.Context, s *stage) error {
			s.mark()
			if _, err := s.w.kvmctl(ctx, "pause", s.a.name); err != nil {
				return err
			}
			if err := s.movedTo(ctx, s.b); err != nil {
				return err
			}
			if _, err := s.w.kvmctl(ctx, "resume", s.a.name); err != nil {
				return err
			}
			return s.more(ctx, 20*time.Second, 10)
		}),
	}
}
