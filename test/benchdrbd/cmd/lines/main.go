// Command lines is what the bench runs inside its guests: `lines serve DIR...` is the service that clients write numbered lines to, `lines watch` tells when
// something becomes so, and `lines cost PROGRAM...` says what programs have used.
package main

import (
	"fmt"
	"os"
)

func main() {
	verbs := map[string]func([]string) error{"serve": serve, "watch": watch, "cost": cost}
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "lines: serve, watch or cost")
		os.Exit(2)
	}
	if err := verbs[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "lines:", err)
		os.Exit(1)
	}
}
