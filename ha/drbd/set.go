package drbd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what is read. A node with more than this is not ours.
const (
	MaxInput = 1 << 20 // bytes of one answer
	maxLine  = 4 << 10 // bytes
	maxParts = 4096    // resources, volumes, peers and their volumes together
)

// What parsers answer beside errors that name a line.
var (
	ErrTooLong = errors.New("longer than any answer of DRBD's")
	ErrCutOff  = errors.New("the answer ends before its end")
)

func bounded(data []byte) error {
	if len(data) > MaxInput {
		return ErrTooLong
	}
	return nil
}

// number is a count below 2^31 that is no statistic: a volume, a minor, a node id.
func number(key, value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number", key, value)
	}
	return int(n), nil
}

func amount(key, value string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number", key, value)
	}
	return n, nil
}

// The set methods take one key:value of drbdsetup's. Keys that this program has no use for are left out.

func (r *Resource) set(key, value string) error {
	switch key {
	case "role":
		r.Role = Role(find(roleNames, value))
	case "suspended":
		s, err := parseSuspended(value)
		if err != nil {
			return err
		}
		r.Suspended = s
	}
	return nil
}

func parseSuspended(value string) (s Suspended, err error) {
	if value == "no" {
		return 0, nil
	}
	for reason := range strings.SplitSeq(value, ",") {
		i := slices.Index(suspendedNames, reason)
		if i < 0 {
			i = len(suspendedNames) - 1 // BySomebody: a reason that came after this program still holds
		}
		s |= 1 << i
	}
	return s, nil
}

func (v *Volume) set(key, value string) (err error) {
	switch key {
	case "volume":
		v.Number, err = number(key, value)
	case "minor":
		v.Minor, err = number(key, value)
	case "disk":
		v.Disk = Disk(find(diskNames, value))
	case "size":
		v.Size, err = amount(key, value)
	}
	return err
}

func (p *Peer) set(key, value string) (err error) {
	switch key {
	case "peer-node-id", "node-id":
		p.NodeID, err = number(key, value)
	case "conn-name":
		p.Name = value
	case "connection":
		p.Connection = Connection(find(connectionNames, value))
	case "role":
		p.Role = Role(find(roleNames, value))
	}
	return err
}

func (v *PeerVolume) set(key, value string) (err error) {
	switch key {
	case "volume":
		v.Number, err = number(key, value)
	case "replication":
		v.Replication = Replication(find(replicationNames, value))
	case "peer-disk":
		v.Disk = Disk(find(diskNames, value))
	case "resync-suspended":
		v.Paused = value != "no"
	case "out-of-sync":
		v.OutOfSync, err = amount(key, value)
	case "done":
		v.Done, err = percent(value)
	}
	return err
}

func percent(value string) (float64, error) {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || !(f >= 0 && f <= 100) {
		return 0, fmt.Errorf("%q is no percentage", value)
	}
	return f, nil
}
