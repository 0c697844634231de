package configs

import (
	"fmt"
	"strconv"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/internal/units"
	"kvmctl/vm"
)

type rawLimits struct {
	CPU       *string     `toml:"cpu"`
	CPUWeight *int        `toml:"cpu_weight" range:"1..10000"`
	Memory    *units.Size `toml:"memory" range:"4M..16T" eg:"2G"`
	IOWeight  *int        `toml:"io_weight" range:"1..10000"`
	Tasks     *int        `toml:"tasks" range:"81..4194304"`
}

// mostCPUPercent is that of a guest with all CPUs that it may have.
const mostCPUPercent = vm.MostCPUs * 100

// parsePercent reads "150%": a whole number of hundredths of a CPU.
func parsePercent(s string) (int, error) {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || digits[0] == '+' || digits[0] == '-' {
		return 0, fmt.Errorf(`wants a percentage of one CPU such as "150%%", got %q`, s)
	}
	if n < 1 || n > mostCPUPercent {
		return 0, fmt.Errorf("wants 1%% to %d%%, got %s", mostCPUPercent, s)
	}
	return n, nil
}

// fillLimits puts what was set; there are no defaults.
func fillLimits(l *vm.Limits, raw *rawLimits) {
	if raw.CPU != nil {
		if n, err := parsePercent(*raw.CPU); err == nil { // checkLimits tells of one that is none
			l.CPU = n
		}
	}
	strict.Set(&l.CPUWeight, raw.CPUWeight)
	strict.Set(&l.Memory, raw.Memory)
	strict.Set(&l.IOWeight, raw.IOWeight)
	strict.Set(&l.Tasks, raw.Tasks)
}

// checkLimits finds limits that no guest of this size could live with.
func checkLimits(d *strict.Document, raw *rawLimits, s *vm.Spec) {
	if raw.CPU != nil {
		if _, err := parsePercent(*raw.CPU); err != nil {
			fix := ""
			if n, err := strconv.Atoi(*raw.CPU); err == nil && n >= 1 && n <= mostCPUPercent {
				fix = fmt.Sprintf(`cpu = "%d%%"`, n)
			}
			d.Value("limits.cpu", "limits.cpu "+err.Error(), fix)
		}
	}
	if least := vm.LeastMemoryLimit(s.Memory); raw.Memory != nil && !d.Bad["memory"] && s.Limits.Memory < least {
		d.Value("limits.memory", fmt.Sprintf("limits.memory %s is too little: the guest's %s and QEMU need %s, and the kernel kills who needs more",
			s.Limits.Memory, s.Memory, least), fmt.Sprintf("memory = %q", least))
	}
	if least := vm.LeastTasks(s.CPUsMax); raw.Tasks != nil && !d.Bad["cpus"] && !d.Bad["cpus_max"] && s.Limits.Tasks < least {
		d.Value("limits.tasks", fmt.Sprintf("limits.tasks %d is too little: QEMU may have %d threads for this guest", s.Limits.Tasks, least),
			fmt.Sprintf("tasks = %d", least))
	}
}

func renderLimits(w *writer, l vm.Limits) {
	w.table("[limits]")
	if l.CPU > 0 {
		w.line(`cpu = "%d%%"`, l.CPU)
	}
	w.number("cpu_weight", l.CPUWeight, 0)
	w.size("memory", l.Memory, 0)
	w.number("io_weight", l.IOWeight, 0)
	w.number("tasks", l.Tasks, 0)
	w.endTable("[limits]")
}
