//go:build !linux

package agentcmd

import (
	"context"
	"errors"

	"kvmctl/ha/drbd"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/create"
	"kvmctl/ha/drbd/overview"
)

type noDRBD struct{}

var errNoDRBD = errors.New("DRBD is Linux's")

func drbdControl() noDRBD { return noDRBD{} }

func (noDRBD) Verify(context.Context, string) error { return errNoDRBD }

func drbdFacts(context.Context, noDRBD, []string) (f overview.Facts, err error) { return f, errNoDRBD }

func drbdCompared(context.Context, noDRBD, string) (drbd.Comparison, error) {
	return drbd.NotTold, errNoDRBD
}

func createFacts(context.Context, *conf.Resource, *conf.Host, bool) (f create.Facts, err error) {
	return f, errNoDRBD
}

func createAct(context.Context, create.Step, string) error { return errNoDRBD }

func awaitPeer(context.Context, string) (bool, error) { return false, errNoDRBD }
