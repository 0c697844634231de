package check

import (
	"context"

	"kvmctl/internal/child"
)

// Probe implements Spec.
func (PF) Probe(Env) (Probe, error) {
	return printed{argv: []string{"/sbin/pfctl", "-si"}, judge: judgePF}, nil
}

// Probe implements Spec.
func (s PFSync) Probe(Env) (Probe, error) {
	return printed{argv: []string{"/sbin/ifconfig", s.Interface}, judge: func(out []byte) error { return judgePFSync(s.Interface, out) }}, nil
}

// printed judges what a program prints.
type printed struct {
	argv  []string
	judge func([]byte) error
}

func (printed) Close() {}

func (p printed) Ask(ctx context.Context) error {
	r, err := child.Run(ctx, child.Command{Argv: p.argv})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	return p.judge(r.Output)
}
