package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/internal/nearest"
	"kvmctl/internal/units"
)

// elders knows which guests were started before: a draft must not keep a guest from starting that has long been there.
type elders struct {
	root  string
	asked bool // a verdict depended on it: it changes when a guest is started, not only with the files
}

// started reports whether a guest has an ABI lock, which its first start makes.
func (e *elders) started(name string) bool {
	e.asked = true
	_, err := os.Lstat(filepath.Join(e.root+stateDir, name, "abi.lock"))
	return err == nil
}

// home reports whether a file lies in a guest's own folder.
func (e *elders) home(name, path string) bool {
	return strings.HasPrefix(path, filepath.Join(e.root+stateDir, name)+"/")
}

// checkTogether finds what no guest shows alone. A problem is told in the file of every guest that takes part, but for what only one may
// have: there the one whose it is goes free, if that can be told. See owner.
func checkTogether(guests []*parsed, e *elders) {
	macs, displays, images := shared[units.MAC]{}, shared[int]{}, shared[string]{}
	for _, g := range guests {
		for i, nic := range g.spec.NICs {
			if !nic.MAC.IsZero() {
				macs.add(nic.MAC, g, strict.Element("nic", i)+".mac")
			}
		}
		if v := g.spec.VNC; v.Enabled && !v.Auto {
			displays.add(v.Display, g, "vnc.display")
		}
		for i, disk := range g.spec.Disks {
			if disk.Image != "" && !disk.ReadOnly {
				images.add(filepath.Clean(disk.Image), g, strict.Element("disk", i)+".image")
			}
		}
	}
	anywhere := func(string, units.MAC) bool { return false }
	macs.tell(e, anywhere, func(m units.MAC, other string) (string, string) {
		return fmt.Sprintf("nic.mac %s is also that of %s", m, other), `mac = "auto"`
	})
	displays.tell(e, func(string, int) bool { return false }, func(n int, other string) (string, string) {
		return fmt.Sprintf("vnc.display %d is also that of %s", n, other), `display = "auto"`
	})
	images.tell(e, e.home, func(image, other string) (string, string) {
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

// owner tells whose a thing is that several guests claim: the only one of them that was ever started; else, of those that are equal in that,
// the only one in whose folder it lies. -1: nobody knows, so none may have it.
func owner[K comparable](key K, users []user, e *elders, home func(name string, key K) bool) int {
	only := func(among []int, is func(name string) bool) []int {
		var those []int
		for _, i := range among {
			if is(users[i].guest.spec.Name) {
				those = append(those, i)
			}
		}
		if len(those) == 0 {
			return among
		}
		return those
	}
	left := make([]int, len(users))
	for i := range left {
		left[i] = i
	}
	left = only(left, e.started)
	if len(left) > 1 {
		left = only(left, func(name string) bool { return home(name, key) })
	}
	if len(left) == 1 {
		return left[0]
	}
	return -1
}

func (s shared[K]) tell(e *elders, home func(name string, key K) bool, words func(key K, other string) (msg, fix string)) {
	for key, users := range s {
		if len(users) < 2 {
			continue
		}
		first := owner(key, users, e, home)
		for i, u := range users {
			if i == first {
				continue
			}
			other := users[max(first, 0)]
			if first < 0 && i == 0 {
				other = users[1]
			}
			line, _ := other.guest.doc.Position(other.path)
			msg, fix := words(key, fmt.Sprintf("%s (%s:%d)", other.guest.spec.Name, other.guest.doc.File, line))
			u.guest.doc.Value(u.path, msg, fix)
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
			g.doc.Value(strict.Element("after", i), fmt.Sprintf("after names %q, which is no guest", name), fix)
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
				g.doc.Value(strict.Element("after", i), "after makes a cycle: "+cycle, "")
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
