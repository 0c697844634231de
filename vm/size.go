package vm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kvmctl/internal/units"
	"kvmctl/vm/qmp"
)

// machineSize is what of memory and CPUs a machine was made with, and what it was given room for: all of it is fixed while it runs.
type machineSize struct {
	Memory, MemoryMax units.Size
	CPUs, CPUsMax     int
}

// sizeOf reads back what Args wrote into a command line.
func sizeOf(argv []string) (z machineSize, err error) {
	for i, flag := range argv[:max(0, len(argv)-1)] {
		switch {
		case flag == "-m" && z.Memory == 0: // what comes behind it is the admin's own
			z.Memory, err = kibOf(argv[i+1], "size")
			if err == nil {
				z.MemoryMax, err = kibOf(argv[i+1], "maxmem")
			}
		case flag == "-smp" && z.CPUs == 0:
			first, _, _ := strings.Cut(argv[i+1], ",")
			z.CPUs, err = strconv.Atoi(first)
			if err == nil {
				z.CPUsMax, err = strconv.Atoi(optOf(argv[i+1], "maxcpus"))
			}
		}
		if err != nil {
			return machineSize{}, fmt.Errorf("read %s %.100s: %w", flag, argv[i+1], err)
		}
	}
	z.MemoryMax = max(z.MemoryMax, z.Memory)
	if z.Memory <= 0 || z.CPUs < 1 || z.CPUsMax < z.CPUs || z.CPUsMax > MostCPUs || z.MemoryMax > mostMemory {
		return machineSize{}, errors.New("a command line without the machine's memory and CPUs")
	}
	return z, nil
}

// kibOf reads a size as kib writes it; one that is not there is 0.
func kibOf(value, key string) (units.Size, error) {
	text := optOf(value, key)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(text, "k"), 10, 64)
	if err == nil && (n < 0 || n > int64(mostMemory/units.KiB)) {
		err = strconv.ErrRange
	}
	return units.Size(n) * units.KiB, err
}

// optOf finds a key in a value of QEMU's.
func optOf(value, key string) string {
	for part := range strings.SplitSeq(value, ",") {
		if v, ok := strings.CutPrefix(part, key+"="); ok {
			return v
		}
	}
	return ""
}

// sized gives a guest with other memory and CPUs; a headroom that only follows them follows these.
func (s *Spec) sized(memory units.Size, cpus int) *Spec {
	m := *s
	if s.MemoryMax == DefaultMemoryMax(s.Memory) {
		m.MemoryMax = DefaultMemoryMax(memory)
	}
	if s.CPUsMax == DefaultCPUsMax(s.CPUs) {
		m.CPUsMax = DefaultCPUsMax(cpus)
	}
	m.Memory, m.CPUs = memory, cpus
	return &m
}

// pastMachine is the machine that a state of a guest's memory fits.
type pastMachine struct {
	Argv   []string   `json:"argv"`             // it was started with
	Memory units.Size `json:"memory,omitempty"` // that the guest had in the end, as far as it was asked for; 0: that of the start
	CPUs   int        `json:"cpus,omitempty"`   // 0: those of the start
	Unseen []string   `json:"unseen,omitempty"` // as in Record
}

// has gives the memory and the CPUs that the guest had in the end.
func (p *pastMachine) has(z machineSize) (units.Size, int) {
	memory, cpus := z.Memory, z.CPUs
	if p.Memory > 0 {
		memory = p.Memory
	}
	if p.CPUs > 0 {
		cpus = p.CPUs
	}
	return memory, cpus
}

// firstGap gives the first CPU that is not plugged in and has one behind it that is; -1: none.
func (r *Running) firstGap() int {
	for i := range r.CPUs {
		if r.CPUs[i].Path == "" {
			if i < r.CPUCount() {
				return i
			}
			break
		}
	}
	return -1
}

// growCPUs gives a machine that does not run yet the CPUs that the guest had when its memory was kept: they have to be there before the
// state is loaded. Its memory is in the state itself: QEMU keeps with virtio-mem what was asked of it.
func growCPUs(ctx context.Context, c *qmp.Client, want int) error {
	r := &Running{}
	if err := (&prober{c: c, r: r}).cpus(ctx); err != nil {
		return err
	}
	if want > len(r.CPUs) {
		return fmt.Errorf("the guest had %d CPUs, and its machine has room for %d", want, len(r.CPUs))
	}
	return plugCPUs(ctx, c, r, want, func(int) {})
}

// plugCPUs plugs in the first that are not there until there are as many as wanted; each is told.
func plugCPUs(ctx context.Context, c *qmp.Client, r *Running, want int, plugged func(have int)) error {
	have := r.CPUCount()
	for i, cpu := range r.CPUs {
		if have >= want || cpu.Path != "" {
			continue
		}
		args := map[string]any{"driver": cpu.Type, "id": fmt.Sprintf("cpu%d", i)}
		for k, v := range cpu.Props {
			args[k] = v
		}
		if err := c.Execute(ctx, "device_add", args, nil); err != nil {
			return fmt.Errorf("plug in CPU %d: %w", i, err)
		}
		have++
		plugged(have)
	}
	return nil
}
