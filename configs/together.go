package configs

import (
	"fmt"
	"path/filepath"
	"strings"

	"kvmctl/internal/nearest"
	"kvmctl/internal/units"
)

// checkTogether finds what no guest shows alone. Each problem is told in the file of every guest that takes part.
func checkTogether(guests []*parsed) {
	macs, displays, images := shared[units.MAC]{}, shared[int]{}, shared[string]{}
	for _, g := range guests {
		for i, nic := range g.spec.NICs {
			if !nic.MAC.IsZero() {
				macs.add(nic.MAC, g, element("nic", i)+".mac")
			}
		}
		if v := g.spec.VNC; v.Enabled && !v.Auto {
			displays.add(v.Display, g, "vnc.display")
		}
		for i, disk := range g.spec.Disks {
			if disk.Image != "" && !disk.ReadOnly {
				images.add(filepath.Clean(disk.Image), g, element("disk", i)+".image")
			}
		}
	}
	macs.tell(func(m units.MAC, other string) (string, string) {
		return fmt.Sprintf("nic.mac %s is also that of %s", m, other), `mac = "auto"`
	})
	displays.tell(func(n int, other string) (string, string) {
		return fmt.Sprintf("vnc.display %d is also that of %s", n, other), `display = "auto"`
	})
	images.tell(func(image, other string) (string, string) {
		return fmt.Sprintf("disk.image %s is also written by %s", image, other), ""
	})
	checkOrder(guests)
}

// shared collects who has a value that only one guest may have.
type shared[K comparable] map[K][]user

type user struct {
	guest *parsed
	path  string
}

func (s shared[K]) add(key K, g *parsed, path string) {
	if users := s[key]; len(users) > 0 && users[len(users)-1].guest == g {
		return // twice in one file: told there
	}
	s[key] = append(s[key], user{g, path})
}

func (s shared[K]) tell(words func(key K, other string) (msg, fix string)) {
	for key, users := range s {
		for i, u := range users {
			if len(users) < 2 {
				break
			}
			other := users[0]
			if i == 0 {
				other = users[1]
			}
			line, _ := other.guest.doc.position(other.path)
			msg, fix := words(key, fmt.Sprintf("%s (%s:%d)", other.guest.spec.Name, other.guest.doc.file, line))
			u.guest.doc.value(u.path, msg, fix)
		}
	}
}

// checkOrder finds guests that come after one that is not there, or after themselves by way of others.
func checkOrder(guests []*parsed) {
	byName := make(map[string]*parsed, len(guests))
	names := make([]string, len(guests))
	for i, g := range guests {
		byName[g.spec.Name], names[i] = g, g.spec.Name
	}
	for _, g := range guests {
		for i, name := range g.after {
			if name == "" || byName[name] != nil {
				continue
			}
			fix := ""
			if n, ok := nearest.Find(name, names); ok && n != g.spec.Name {
				fix = fmt.Sprintf("did you mean %q?", n)
			}
			g.doc.value(element("after", i), fmt.Sprintf("after names %q, which is no guest", name), fix)
		}
	}
	left := cyclic(guests, byName)
	for _, g := range guests {
		if !left[g.spec.Name] {
			continue
		}
		for i, name := range g.after {
			if path := way(byName, left, name, g.spec.Name); path != nil && name != g.spec.Name {
				cycle := strings.Join(append([]string{g.spec.Name}, path...), " after ")
				g.doc.value(element("after", i), "after makes a cycle: "+cycle, "")
			}
		}
	}
}

// cyclic takes away, again and again, the guests that wait for nobody: what is left waits for ever.
func cyclic(guests []*parsed, byName map[string]*parsed) map[string]bool {
	left := map[string]bool{}
	waits := map[string]int{}
	followers := map[string][]string{}
	var free []string
	for _, g := range guests {
		left[g.spec.Name] = true
		for _, name := range g.spec.After {
			if byName[name] != nil {
				waits[g.spec.Name]++
				followers[name] = append(followers[name], g.spec.Name)
			}
		}
		if waits[g.spec.Name] == 0 {
			free = append(free, g.spec.Name)
		}
	}
	for len(free) > 0 {
		name := free[len(free)-1]
		free = free[:len(free)-1]
		delete(left, name)
		for _, f := range followers[name] {
			if waits[f]--; waits[f] == 0 {
				free = append(free, f)
			}
		}
	}
	return left
}

// way returns the shortest way from one guest to another along `after`, both ends included, or nil.
func way(byName map[string]*parsed, left map[string]bool, from, to string) []string {
	if !left[from] {
		return nil
	}
	came := map[string]string{from: from}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			path := []string{at}
			for at != from {
				at = came[at]
				path = append([]string{at}, path...)
			}
			return path
		}
		for _, next := range byName[at].spec.After {
			if _, seen := came[next]; !seen && left[next] {
				came[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}
