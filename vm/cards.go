package vm

import (
	"slices"
)

// RemoveCards removes cards from a guest's vm.toml, as write does, which counts nics before; removed are their positions there. The
// ABI lock learns first which ones go, and settles when the file is written: whichever of the two a kill leaves undone, the other cards keep their
// addresses. The caller holds the guest's lock.
func (h *Host) RemoveCards(name string, nics int, removed []int, write func() error) error {
	old, err := loadABI(h.ABILock(name))
	if err != nil {
		return err
	}
	if old == nil {
		return write()
	}
	settled := old.settleCards(nics)
	marked := settled
	marked.NICs = slices.Clone(settled.NICs)
	for _, i := range removed {
		if i < len(marked.NICs) {
			marked.NICs[i].Gone = true
		}
	}
	if err := saveABI(h.ABILock(name), old, marked); err != nil {
		return err
	}
	if err := write(); err != nil {
		_ = saveABI(h.ABILock(name), nil, *old) // the mark alone does no harm
		return err
	}
	return saveABI(h.ABILock(name), &marked, marked.settleCards(nics-len(removed)))
}

// settleCards brings the cards that are gone behind the others. A mark of one that is in a file of so many cards after all is taken back:
// the file was never written.
func (a *ABI) settleCards(nics int) ABI {
	out := *a
	var there, gone []ABINIC
	for _, n := range a.NICs {
		if n.Gone {
			gone = append(gone, n)
		} else {
			there = append(there, n)
		}
	}
	out.NICs = append(there, gone...)
	if unsettled(a.NICs) && len(there) < nics {
		out.NICs = slices.Clone(a.NICs)
		for i := range out.NICs {
			out.NICs[i].Gone = i >= nics
		}
	}
	return out
}

// unsettled tells of a lock that says which card is about to leave vm.toml.
func unsettled(cards []ABINIC) bool {
	gone := false
	for _, n := range cards {
		if gone && !n.Gone {
			return true
		}
		gone = n.Gone
	}
	return false
}
