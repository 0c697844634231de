package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// look is how often watch looks: it may be late by that.
const look = 10 * time.Millisecond

// facts are what watch looks at.
var facts = []struct {
	name string
	is   func() bool
}{
	{"asked", exists("/run/pdu.asked")},                        // a fence was asked
	{"decided", exists("/run/decided")},                        // a notify script has begun
	{"alone", holds("/var/lib/kvmha/right/varda*", `"alone"`)}, // the right is written down
	{"primary", holds("/proc/drbd", " ro:Primary/")},
	{"mounted", holds("/proc/mounts", "/dev/drbd0 ")},
	{"address", hasAddress},
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

func holds(pattern, text string) func() bool {
	return func() bool {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return false
		}
		for _, p := range paths {
			if data, err := os.ReadFile(p); err == nil && bytes.Contains(data, []byte(text)) {
				return true
			}
		}
		return false
	}
}

// service is the shared address.
const service = "10.90.0.100"

func hasAddress() bool {
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return false
	}
	all, err := eth0.Addrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.String() == service {
			return true
		}
	}
	return false
}
