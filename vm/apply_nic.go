package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// addNIC plugs a card in. Its TAP comes from where those of a start come from.
func (e *executor) addNIC(ctx context.Context, o *Outcome) (err error) {
	if e.h.Network == nil {
		return errors.New("there is no network to hang it on")
	}
	n, place := e.file.NICs[o.at], e.pinned.NICs[o.at]
	n.MAC = place.MAC
	id := e.freeID("nic", func(id string) bool {
		return slices.ContainsFunc(e.live.Cards, func(x RunningCard) bool { return x.ID == id })
	})
	n.Number = number(id)
	st, err := e.h.loadState(e.name)
	if err != nil {
		return err
	}
	one := *e.file
	one.NICs = []NIC{n}
	chosen, err := e.h.chooseVHost(&one, st.Accel)
	if err != nil {
		return err
	}
	one, n = *chosen, chosen.NICs[0]
	var undo undoer
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	e.drop("netdev_del", map[string]any{"id": "net" + strconv.Itoa(n.Number)}) // of a kvmctl that was killed in between
	taps, err := e.h.Network(ctx, &one, st.UID)
	if err != nil {
		return err
	}
	defer func() { // QEMU has its own by then; where it has not, they vanish with ours
		for _, queues := range taps {
			for _, f := range queues {
				f.Close()
			}
		}
	}()
	w := &Wiring{fds: map[string]string{}}
	for q, f := range taps[0] {
		name := fmt.Sprintf("%s.%d", id, q)
		if err := e.handOver(ctx, name, f); err != nil {
			return err
		}
		undo.add(func() { e.drop("closefd", map[string]any{"fdname": name}) })
		w.fds[fdNIC(n.Number, q)] = name
	}
	if n.VHost == VHostOn {
		if err := e.handOverVHost(ctx, id, n, w, &undo); err != nil {
			return err
		}
	}
	b := &builder{spec: &one, abi: e.abi, w: w}
	if err := e.mon.Execute(ctx, "netdev_add", netdevArgs(b.netdev(n.Number, n)), nil); err != nil {
		return fmt.Errorf("take the TAP: %w", err)
	}
	e.h.step("card's TAP taken")
	undo = nil // netdev_add closed the names
	undo.add(func() { e.drop("netdev_del", map[string]any{"id": "net" + strconv.Itoa(n.Number)}) })
	if err := e.mon.Execute(ctx, "device_add", deviceArgs(b.card(n.Number, n, place)), nil); err != nil {
		return fmt.Errorf("plug in the card: %w", err)
	}
	e.live.Cards = append(e.live.Cards, RunningCard{ID: id, MAC: n.MAC, Slot: place.Slot, Port: place.Port})
	e.setCards(place, e.file.NICs[o.at])
	return nil
}

// handOver gives QEMU an open file under a name.
func (e *executor) handOver(ctx context.Context, name string, f *os.File) error {
	if err := e.mon.ExecuteWithFile(ctx, "getfd", map[string]any{"fdname": name}, nil, f); err != nil {
		return fmt.Errorf("hand over a TAP: %w", err)
	}
	return nil
}

// handOverVHost opens the kernel's end of each queue that it is to serve, and hands it over.
func (e *executor) handOverVHost(ctx context.Context, id string, n NIC, w *Wiring, undo *undoer) error {
	for q := range n.Queues {
		f, err := os.OpenFile(e.h.VHostDevice, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("vhost: %w", err)
		}
		name := fmt.Sprintf("%s.%d.vhost", id, q)
		err = e.handOver(ctx, name, f)
		f.Close()
		if err != nil {
			return err
		}
		undo.add(func() { e.drop("closefd", map[string]any{"fdname": name}) })
		w.fds[fdVHost(n.Number, q)] = name
	}
	return nil
}

// setCards notes a card that came, in the file's order.
func (e *executor) setCards(place ABINIC, n NIC) {
	nics, cards := []NIC{}, []ABINIC{}
	for i, x := range e.pinned.NICs[:len(e.file.NICs)] {
		switch old := cardAt(e.rec.Applied.NICs, e.rec.Cards, x); {
		case x.Slot == place.Slot && x.Port == place.Port:
			nics, cards = append(nics, n), append(cards, place)
		case old != nil:
			nics, cards = append(nics, e.rec.Applied.NICs[indexOfPlace(e.rec.Cards, x)]), append(cards, e.pinned.NICs[i])
		}
	}
	for i, x := range e.rec.Cards { // still there, though not in the file
		if indexOfPlace(cards, x) < 0 {
			nics, cards = append(nics, e.rec.Applied.NICs[i]), append(cards, x)
		}
	}
	e.rec.Applied.NICs, e.rec.Cards = nics, cards
}

func indexOfPlace(list []ABINIC, at ABINIC) int {
	return slices.IndexFunc(list, func(x ABINIC) bool { return x.Slot == at.Slot && x.Port == at.Port })
}

// removeNIC unplugs a card. Its TAP goes with QEMU's descriptor.
func (e *executor) removeNIC(ctx context.Context, o *Outcome) error {
	i := slices.IndexFunc(e.live.Cards, func(x RunningCard) bool { return x.ID == o.id })
	card := e.live.Cards[i]
	gone, err := e.unplug(ctx, o.id)
	if err != nil {
		return err
	}
	if !gone {
		o.When, o.InVain, o.Note = WhenGuest, true, "it does not let go"
		return nil
	}
	e.drop("netdev_del", map[string]any{"id": "net" + strconv.Itoa(number(o.id))})
	e.live.Cards = slices.Delete(e.live.Cards, i, i+1)
	if k := indexOfPlace(e.rec.Cards, ABINIC{Slot: card.Slot, Port: card.Port}); k >= 0 {
		e.rec.Cards = slices.Delete(slices.Clone(e.rec.Cards), k, k+1)
		e.rec.Applied.NICs = slices.Delete(slices.Clone(e.rec.Applied.NICs), k, k+1)
	}
	return nil
}

// setRate limits a card anew.
func (e *executor) setRate(ctx context.Context, o *Outcome) error {
	if e.h.SetRate == nil {
		return errors.New("there is no network to limit")
	}
	st, err := e.h.loadState(e.name)
	if err != nil {
		return err
	}
	rate := e.file.NICs[o.at].Rate
	if err := e.h.SetRate(ctx, st.UID, number(o.id), rate); err != nil {
		return err
	}
	if k := indexOfPlace(e.rec.Cards, e.pinned.NICs[o.at]); k >= 0 {
		e.rec.Applied.NICs = slices.Clone(e.rec.Applied.NICs)
		e.rec.Applied.NICs[k].Rate = rate
	}
	return nil
}
