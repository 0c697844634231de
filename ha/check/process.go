package check

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Process looks whether a process lives. The kernel tells at once when it ends (pidfd_open(2)).
type Process struct {
	PIDFile string // the process whose number stands in its first line
	Name    string // that of its executable, or as ps -e shows it; of several, the eldest. With PIDFile: it must have that name, too
}

// quickRestart is how long a process may be gone before that is a fact: a service that is restarted by hand is back by then.
const quickRestart = 200 * time.Millisecond

// Kind implements Spec.
func (Process) Kind() string { return "process" }

var errNoProcess = errors.New("neither pidfile nor name is given")

// Validate implements Spec.
func (s Process) Validate() error {
	switch {
	case s.PIDFile == "" && s.Name == "":
		return errNoProcess
	case s.PIDFile != "" && !filepath.IsAbs(s.PIDFile):
		return fmt.Errorf("pidfile %q is not an absolute path", s.PIDFile)
	case strings.ContainsAny(s.Name, "/\x00"):
		return fmt.Errorf("name %q: want the executable's name without its directory", s.Name)
	}
	return nil
}

// String names the process for people.
func (s Process) String() string {
	switch {
	case s.PIDFile == "":
		return s.Name
	case s.Name == "":
		return "the process of " + s.PIDFile
	}
	return s.Name + " of " + s.PIDFile
}
