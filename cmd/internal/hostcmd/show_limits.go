package hostcmd

import (
	"fmt"
	"strings"

	"kvmctl/vm"
)

// limitsJSON is [limits] in `show --json`; what is not bounded is left out.
type limitsJSON struct {
	CPUPercent  int   `json:"cpu_percent,omitempty"` // of one CPU
	CPUWeight   int   `json:"cpu_weight,omitempty"`
	MemoryBytes int64 `json:"memory_bytes,omitempty"`
	IOWeight    int   `json:"io_weight,omitempty"`
	Tasks       int   `json:"tasks,omitempty"`
}

// limitWords says what is bounded, or nothing.
func limitWords(l vm.Limits) string {
	var words []string
	if l.CPU > 0 {
		words = append(words, fmt.Sprintf("cpu %d%%", l.CPU))
	}
	if l.CPUWeight > 0 {
		words = append(words, fmt.Sprintf("cpu_weight %d", l.CPUWeight))
	}
	if l.Memory > 0 {
		words = append(words, fmt.Sprintf("memory %v", l.Memory))
	}
	if l.IOWeight > 0 {
		words = append(words, fmt.Sprintf("io_weight %d", l.IOWeight))
	}
	if l.Tasks > 0 {
		words = append(words, fmt.Sprintf("tasks %d", l.Tasks))
	}
	return strings.Join(words, ", ")
}
