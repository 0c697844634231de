package main

import (
	"context"
	"regexp"
	"strings"
	"time"
)

// step is a part of what lies between a power cut, or a wish, and the first acknowledged write.
type step struct {
	name string
	took time.Duration
}

// ended is a line of the agent's log, as `kvmha run --debug` writes it.
var ended = regexp.MustCompile(`msg="step ended" .*id=(\d+) step=("[^"]*"|\S+) .*took=(\S+)`)

// split says what b did from the moment that something broke until the client had an answer, from its log.
func (w *world) split(ctx context.Context, s *stage) []step {
	log, err := s.b.sh(ctx, "tail -n 400 /var/log/kvmha.log")
	if err != nil {
		return nil
	}
	var promoted, active time.Time
	for _, e := range w.since(s.began) {
		if e.node == s.b.name && e.to == "promoting" {
			promoted = e.at // the last try counts
		}
		if e.node == s.b.name && e.to == "active" && active.IsZero() {
			active = e.at
		}
	}
	first := s.served().first(active)
	if promoted.IsZero() || active.IsZero() || first.IsZero() || active.Before(promoted) {
		return nil
	}
	steps := []step{{"until it began", promoted.Sub(s.began)}}
	spent := time.Duration(0)
	for _, one := range lastPromotion(log) {
		steps = append(steps, one)
		spent += one.took
	}
	return append(steps, step{"between the steps", active.Sub(promoted) - spent}, step{"client", first.Sub(active)}, step{"all", first.Sub(s.began)})
}

// lastPromotion gives the steps of the last way from promoting to active in a log.
func lastPromotion(log string) (steps []step) {
	begin := -1
	all := strings.Split(log, "\n")
	for i, line := range all {
		if strings.Contains(line, "msg=role") && strings.Contains(line, "to=promoting") {
			begin = i
		}
	}
	if begin < 0 {
		return nil
	}
	for _, line := range all[begin:] {
		if strings.Contains(line, "msg=role") && strings.Contains(line, "to=active") {
			break
		}
		if m := ended.FindStringSubmatch(line); m != nil {
			if took, err := time.ParseDuration(m[3]); err == nil {
				steps = append(steps, step{strings.Trim(m[2], `"`), took})
			}
		}
	}
	return steps
}
