package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cost prints "OWN CHILDREN RSS PSS" of the programs together: CPU time in hundredths of a second, that of children that have ended apart, and KiB.
func cost(programs []string) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var cpu [2]int
	var rss, pss int
	for _, dir := range dirs {
		exe, err := os.Readlink(dir + "/exe")
		if err != nil || !slices.Contains(programs, filepath.Base(exe)) {
			continue // a kernel thread, or it has ended
		}
		text, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ") // proc(5): the fields from state, which is the third
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			return fmt.Errorf("%s/stat has %d fields", dir, len(fields))
		}
		for i, ticks := range fields[11:15] {
			n, err := strconv.Atoi(ticks)
			if err != nil {
				return err
			}
			cpu[i/2] += n
		}
		rss, pss = rss+kib(dir+"/smaps_rollup", "Rss:"), pss+kib(dir+"/smaps_rollup", "Pss:")
	}
	_, err = fmt.Println(cpu[0], cpu[1], rss, pss)
	return err
}

func kib(path, field string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == field {
			n, err := strconv.Atoi(words[1])
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
