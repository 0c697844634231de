// Command mkman writes the manual pages into a directory; `make man` runs it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"kvmctl/cmd/internal/agentcmd"
	"kvmctl/cmd/internal/hostcmd"
	"kvmctl/cmd/internal/manual"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkman DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "mkman: %v\n", err)
		os.Exit(1)
	}
}

// pages gives those of both programs.
func pages() []manual.Page { return append(hostcmd.Manual(), agentcmd.Manual()...) }

// write replaces the pages in dir: those of commands that are no more go.
func write(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "*.[58]"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range pages() {
		if err := os.WriteFile(filepath.Join(dir, p.File), []byte(p.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
