package ha

import "strings"

// fault is what somebody beside the loop has to say of his work; nil takes it back.
type fault struct {
	subject string
	err     error
}

// Degrade notes, from any goroutine and without waiting, what does not work as it should; nil takes it back.
func (a *Agent) Degrade(subject string, err error) {
	select {
	case a.faults <- fault{subject, err}:
	default: // sixteen others are told of already
	}
}

// degrade notes what does not work as it should; nil takes it back.
func (a *Agent) degrade(subject string, err error) {
	switch {
	case err == nil && a.broken[subject] != "":
		a.Log.Info("works again", "subject", subject)
		delete(a.broken, subject)
	case err != nil && a.broken[subject] == "":
		a.Log.Warn("degraded", "subject", subject, "error", err)
		fallthrough
	case err != nil:
		a.broken[subject] = subject + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
}
