package configs

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

const maxName = 40

var (
	guestName  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`) })
	bridgeName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`) })
	ourTAP     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^kv[0-9]+\.[0-9]+$`) })
)

// reservedEndings would make a guest's directory look like one of the files beside it.
var reservedEndings = []string{".lock", ".pid", ".sock", ".tmp", ".toml"}

// NameError says why a name cannot be a guest's.
type NameError struct {
	Name string
	Rule string // what the name breaks
}

// Error gives the name and the rule.
func (e *NameError) Error() string { return fmt.Sprintf("bad guest name %q: %s", e.Name, e.Rule) }

// Hint gives a name that would do, if one is near.
func (e *NameError) Hint() string {
	if n := tidyName(e.Name); n != "" {
		return "try " + n
	}
	return ""
}

// CheckName returns nil for a name that a guest may have, else a *NameError. A name is a directory in three places and
// part of a unit's and an interface alias's name.
func CheckName(name string) error {
	rule := ""
	switch {
	case name == "":
		rule = "it is empty"
	case len(name) > maxName:
		rule = fmt.Sprintf("longer than %d characters", maxName)
	case !guestName().MatchString(name):
		rule = "only a-z, 0-9, . and - are allowed, and the first is a letter or a digit"
	case strings.Contains(name, ".."):
		rule = "two dots in a row"
	case strings.HasSuffix(name, "."), strings.HasSuffix(name, "-"):
		rule = "the last character has to be a letter or a digit"
	case name == "all":
		rule = `"all" means every guest`
	default:
		for _, end := range reservedEndings {
			if strings.HasSuffix(name, end) {
				rule = fmt.Sprintf("%q ends the names of kvmctl's own files", end)
			}
		}
	}
	if rule == "" {
		return nil
	}
	return &NameError{name, rule}
}

// tidyName makes a valid name out of one that is not, or returns "".
func tidyName(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
		if b.Len() == maxName {
			break
		}
	}
	out := b.String()
	for strings.Contains(out, "..") {
		out = strings.ReplaceAll(out, "..", ".")
	}
	out = strings.Trim(out, ".-")
	for _, end := range reservedEndings {
		out = strings.TrimSuffix(out, end)
	}
	out = strings.Trim(out, ".-")
	if CheckName(out) != nil {
		return ""
	}
	return out
}

// checkBridgeName returns what is wrong with a bridge's name, or "". The kernel's rule is looser (15 bytes, no '/', ':'
// or blank); '%' is a template there, and "all", "default" are directories beside the interfaces' in /proc/sys/net.
func checkBridgeName(name string) string {
	switch {
	case len(name) > 15:
		return "longer than the kernel's 15 bytes"
	case !bridgeName().MatchString(name), strings.Contains(name, ".."):
		return "only letters, digits, '_', '.' and '-' are allowed, and the first is a letter or a digit"
	case name == "all", name == "default", name == "lo":
		return "the kernel uses it for itself"
	case ourTAP().MatchString(name):
		return "kvmctl names its TAPs so"
	}
	return ""
}
