package vm

import (
	"context"
	"net/netip"

	"kvmctl/internal/units"
	"kvmctl/vm/qmp"
)

// RunNIC is a network card of a running guest.
type RunNIC struct {
	MAC    units.MAC
	Bridge string
}

// NICs gives the cards with which a guest was started.
func (s *State) NICs() []RunNIC {
	var nics []RunNIC
	for i, m := range s.MACs {
		mac, err := units.ParseMAC(m)
		if err == nil && i < len(s.Bridges) {
			nics = append(nics, RunNIC{mac, s.Bridges[i]})
		}
	}
	return nics
}

// RunState is what the start of a running guest wrote down.
func (h *Host) RunState(name string) (*State, error) { return h.loadState(name) }

// AgentAddresses asks the guest's agent for the addresses of the given cards, those of the first one first. An agent that the guest has
// not started costs no waiting: qmp.ErrNoAgent.
func (h *Host) AgentAddresses(ctx context.Context, name string, nics []RunNIC) ([]netip.Addr, error) {
	if !h.agentListens(ctx, name) {
		return nil, qmp.ErrNoAgent
	}
	a, closeAgent, err := h.Agent(ctx, name)
	if err != nil {
		return nil, err
	}
	defer closeAgent()
	ifs, err := a.NetworkInterfaces(ctx)
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, n := range nics {
		all = append(all, qmp.Addresses(ifs, n.MAC)...)
	}
	return all, nil
}
