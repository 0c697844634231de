package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// look is how often watch looks: it may be late by that.
const look = 10 * time.Millisecond

// service is the shared address.
const service = "10.90.0.100"

// facts are what watch looks at. What costs more than a few microseconds would be measured itself.
var facts = []struct {
	name string
	is   func() bool
}{
	{"asked", exists("/run/pdu.asked")},                           // a fence was asked
	{"decided", exists("/run/decided")},                           // a notify script has begun
	{"alone", file("/var/lib/kvmha/right/varda.json", `"alone"`)}, // the right is written down
	{"primary", proc("/proc/drbd", " ro:Primary/")},
	{"writes", proc("/proc/drbd", " ro:Primary/", " C r")}, // primary, and its writes do not stand still
	{"mounted", proc("/proc/mounts", "/dev/drbd0 ")},
	{"address", proc("/proc/net/fib_trie", "|-- "+service+"\n")},
}

// watch prints a line when a fact changes, "mounted true", and all of them at first.
func watch([]string) error {
	was := map[string]bool{}
	for first := true; ; first = false {
		for _, f := range facts {
			if is := f.is(); first || is != was[f.name] {
				was[f.name] = is
				if _, err := fmt.Println(f.name, is); err != nil {
					return err
				}
			}
		}
		time.Sleep(look)
	}
}

func exists(path string) func() bool {
	return func() bool { _, err := os.Stat(path); return err == nil }
}

// file looks for text in a file whenever that was changed.
func file(path, text string) func() bool {
	var changed time.Time
	var is bool
	return func() bool {
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		if !info.ModTime().Equal(changed) {
			changed = info.ModTime()
			data, err := os.ReadFile(path)
			is = err == nil && bytes.Contains(data, []byte(text))
		}
		return is
	}
}

// proc looks for texts in a file of /proc, which stays open and is made anew for each read.
func proc(path string, texts ...string) func() bool {
	var f *os.File
	buf := make([]byte, 64<<10)
	return func() bool {
		if f == nil {
			var err error
			if f, err = os.Open(path); err != nil {
				return false
			}
		}
		n, err := f.ReadAt(buf, 0)
		return (err == nil || err == io.EOF) && !slices.ContainsFunc(texts, func(text string) bool { return !bytes.Contains(buf[:n], []byte(text)) })
	}
}
