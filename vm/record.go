package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/units"
)

// Record is how a guest was started, and what was changed since.
type Record struct {
	Version int      `json:"version"`
	Started Spec     `json:"started"`
	Applied Spec     `json:"applied"`          // Started with what was applied while it ran
	Before  []ABINIC `json:"started_nics"`     // the pinned cards of Started.NICs, in their order
	Cards   []ABINIC `json:"applied_nics"`     // those of Applied.NICs
	Unseen  []string `json:"unseen,omitempty"` // keys whose value QEMU has and the guest, as far as is known, has not

	Limit units.Size `json:"limit_memory,omitempty"` // limits.memory of the scope that QEMU runs in; 0: nothing bounds it
}

const recordVersion = 1

// maxRecord bounds the file, in bytes: a vm.toml of the greatest length twice, and then some.
const maxRecord = 8 << 20

// ErrNoRecord says that it is not known how a guest was started: an older kvmctl did it.
var ErrNoRecord = errors.New("an older kvmctl started it and did not write down how")

func newRecord(spec *Spec, abi *ABI) *Record {
	cards := slices.Clone(abi.NICs[:len(spec.NICs)])
	return &Record{Version: recordVersion, Started: *spec, Applied: *spec, Before: cards, Cards: cards}
}

// goesOn makes it the record of a guest that goes on in the machine of made, with the memory and the CPUs that it had then.
func (r *Record) goesOn(past *pastMachine, made *Spec) {
	if past == nil {
		return
	}
	memory, cpus := past.has(machineSize{Memory: made.Memory, CPUs: made.CPUs})
	r.Started, r.Applied = *r.Started.sized(made.Memory, made.CPUs), *r.Applied.sized(memory, cpus)
	r.Unseen = past.Unseen
}

// LoadRecord reads how a guest was started: the run that lasts, else the last one. fs.ErrNotExist: it never was, or nobody knows any more.
func (l Layout) LoadRecord(name string) (*Record, error) {
	r, err := readRecord(l.run(name, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		r, err = readRecord(l.LastStart(name))
	}
	return r, err
}

func readRecord(path string) (*Record, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	r, err := decodeRecord(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func decodeRecord(b []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("version %d is not one that this kvmctl knows", r.Version)
	}
	if len(r.Before) != len(r.Started.NICs) || len(r.Cards) != len(r.Applied.NICs) {
		return nil, errors.New("it counts its network cards wrongly")
	}
	return &r, nil
}

func (l Layout) saveRecord(name string, r *Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.WriteVolatile(l.run(name, recordName), b, 0o600)
}

// keepRecord keeps how a guest was started beyond the end of its run.
func (l Layout) keepRecord(name string) {
	r, err := readRecord(l.run(name, recordName))
	if err != nil {
		return
	}
	if b, err := json.Marshal(r); err == nil {
		_ = atomicfile.WriteVolatile(l.LastStart(name), b, 0o600) // to compare with; nothing depends on it
	}
}

// note writes down what holds now, for `diff` and for the mark that `status` shows.
func (h *Host) note(name string, r *Record) error {
	if err := h.saveRecord(name, r); err != nil {
		return fmt.Errorf("write down what was changed: %w", err)
	}
	st, err := h.loadState(name)
	if err != nil {
		return fmt.Errorf("write down what was changed: %w", err)
	}
	before := *st
	st.Digest, st.Unseen = r.Applied.Digest(), len(r.Unseen) > 0
	st.MACs, st.Bridges = nil, nil
	for i, n := range r.Applied.NICs {
		st.MACs = append(st.MACs, r.Cards[i].MAC.String())
		st.Bridges = append(st.Bridges, n.Bridge)
	}
	st.Memory, st.CPUs = r.Applied.Memory, r.Applied.CPUs
	if before.Digest == st.Digest && before.Unseen == st.Unseen && before.Memory == st.Memory && slices.Equal(before.MACs, st.MACs) {
		return nil
	}
	if err := h.saveState(name, st); err != nil {
		return fmt.Errorf("write down what was changed: %w", err)
	}
	return nil
}

// reconcile takes from QEMU which devices there are: a kvmctl that was killed between QEMU and the record left a device without its entry,
// or an entry without its device. What came so came as the file says.
func (r *Record) reconcile(file *Spec, pinned *ABI, live *Running) {
	var disks []Disk
	for _, d := range r.Applied.Disks {
		if live.hasImage(d.Image) {
			disks = append(disks, d)
		}
	}
	for _, d := range file.Disks {
		if live.hasImage(d.Image) && diskOf(disks, d.Image) == nil {
			disks = append(disks, d)
		}
	}
	r.Applied.Disks = disks
	var nics []NIC
	var cards []ABINIC
	for i, c := range r.Cards {
		if live.hasNIC(c.Slot, c.Port) {
			nics, cards = append(nics, r.Applied.NICs[i]), append(cards, c)
		}
	}
	for i, n := range file.NICs {
		if c := pinned.NICs[i]; live.hasNIC(c.Slot, c.Port) && indexOfPlace(cards, c) < 0 {
			nics, cards = append(nics, n), append(cards, c)
		}
	}
	r.Applied.NICs, r.Cards = nics, cards
}
