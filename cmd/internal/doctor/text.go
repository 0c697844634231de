package doctor

import (
	"fmt"
	"strings"

	"kvmctl/cmd/internal/cli"
)

// Text gives a line for each finding, and below it what to type.
func Text(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		about := ""
		if f.About != "" {
			about = f.About + ": "
		}
		fmt.Fprintf(&b, "%-9s  %-7s  %s\n", f.Check, f.Level, cli.Printable(about+f.Message))
		switch {
		case f.Fixed != "":
			fmt.Fprintf(&b, "%20s fixed: %s\n", "", cli.Printable(f.Fixed))
		case f.Failed != "":
			fmt.Fprintf(&b, "%20s not fixed: %s\n", "", cli.Printable(f.Failed))
		case f.Type != "":
			fmt.Fprintf(&b, "%20s type: %s\n", "", cli.Printable(f.Type))
		}
	}
	return b.String()
}
