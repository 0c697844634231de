package image

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// NoRoomError says that a file system has not the room that an image needs from the beginning.
type NoRoomError struct {
	Need, Free units.Size
	Dir        string
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("%s has %v free, the image needs %v", e.Dir, people(e.Free), people(e.Need))
}

// Hint says what may be typed.
func (e *NoRoomError) Hint() string {
	return "--preallocation off takes room only as the guest writes; df " + e.Dir + " shows what there is"
}

// people rounds a size for reading: down to whole units, two digits at least.
func people(s units.Size) units.Size {
	for _, unit := range []units.Size{units.TiB, units.GiB, units.MiB, units.KiB} {
		if s >= 10*unit {
			return s / unit * unit
		}
	}
	return s
}

// room refuses where need is more than is free for all; what the file system keeps for root stays for root.
func room(dir string, need units.Size) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("measure free room in %s: %w", dir, err)
	}
	free := units.Size(math.MaxInt64)
	if block := uint64(st.Frsize); block > 0 && st.Bavail <= math.MaxInt64/block {
		free = units.Size(st.Bavail * block)
	}
	if need > free {
		return &NoRoomError{Need: need, Free: free, Dir: dir}
	}
	return nil
}

// measure asks qemu-img how much of the disk an image will take as soon as it is made. The arguments are those of
// `qemu-img measure`.
func (t Tool) measure(ctx context.Context, args ...string) (units.Size, error) {
	r, err := t.run(ctx, nil, append([]string{"measure", "--output=json"}, args...)...)
	if err != nil {
		return 0, err
	}
	if r.Exit != 0 {
		return 0, toolError("measure", r, nil)
	}
	need, err := decodeMeasure(r.Stdout)
	if err != nil {
		return 0, fmt.Errorf("qemu-img measure: %w", err)
	}
	return need, nil
}

func decodeMeasure(data []byte) (units.Size, error) {
	var j struct {
		Required *int64 `json:"required"`
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return 0, fmt.Errorf("decode: %w", err)
	}
	if j.Required == nil || *j.Required < 0 {
		return 0, fmt.Errorf("decode: no size in %.200q", data)
	}
	return units.Size(*j.Required), nil
}
