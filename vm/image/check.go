package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrNoCheck says that a format has nothing that could be checked.
var ErrNoCheck = errors.New("a raw image has no metadata to check")

// CheckReport is what qemu-img found in an image's metadata.
type CheckReport struct {
	Clusters, Allocated          int64 // of the guest's disk; allocated ones
	Corruptions, Leaks           int64 // left: corruptions endanger data, leaks only waste room
	FixedCorruptions, FixedLeaks int64 // mended in this run
	Errors                       int64 // places that could not be examined
}

// Clean reports whether nothing is wrong (any more).
func (r CheckReport) Clean() bool { return r.Corruptions == 0 && r.Leaks == 0 && r.Errors == 0 }

// Check examines the image at path, which goes by format, and with repair mends what it can. Findings are in the report, not
// in the error, which is ErrNoCheck, a *LockedError, a *FormatError, a *ToolError or what open gives.
func (t Tool) Check(ctx context.Context, path, format string, repair bool) (CheckReport, error) {
	path, err := absolute(path)
	if err != nil {
		return CheckReport{}, err
	}
	h, err := header(path)
	if err != nil {
		return CheckReport{}, err
	}
	h.Corrupt = false // that is what a check is for
	if err := usable(path, format, h); err != nil {
		return CheckReport{}, err
	}
	if format == Raw {
		return CheckReport{}, fmt.Errorf("image %s: %w", path, ErrNoCheck)
	}
	if err := CheckUnlocked(ctx, path, repair); err != nil {
		return CheckReport{}, err
	}
	args := []string{"check", "--output=json", "-f", format}
	if repair {
		args = append(args, "-r", "all")
	}
	r, err := t.run(ctx, nil, append(args, path)...)
	if err != nil {
		return CheckReport{}, err
	}
	// qemu-img(1), "check": 0 clean, 2 corruptions, 3 leaks; the rest is a check that did not take place.
	if r.Exit != 0 && r.Exit != 2 && r.Exit != 3 {
		return CheckReport{}, orLocked(ctx, toolError("check", r, nil), repair, path)
	}
	if r.Truncated {
		return CheckReport{}, fmt.Errorf("qemu-img check %s: more than %d bytes of output", path, len(r.Stdout))
	}
	report, err := decodeCheck(r.Stdout)
	if err != nil {
		return CheckReport{}, fmt.Errorf("qemu-img check %s: %w", path, err)
	}
	return report, nil
}

func decodeCheck(data []byte) (CheckReport, error) {
	var j struct {
		Format           string `json:"format"`
		Errors           *int64 `json:"check-errors"`
		Total            int64  `json:"total-clusters"`
		Allocated        int64  `json:"allocated-clusters"`
		Corruptions      int64  `json:"corruptions"`
		Leaks            int64  `json:"leaks"`
		CorruptionsFixed int64  `json:"corruptions-fixed"`
		LeaksFixed       int64  `json:"leaks-fixed"`
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return CheckReport{}, fmt.Errorf("decode: %w", err)
	}
	if j.Format == "" || j.Errors == nil {
		return CheckReport{}, fmt.Errorf("decode: no format or no count of errors in %.200q", data)
	}
	for _, n := range []int64{*j.Errors, j.Total, j.Allocated, j.Corruptions, j.Leaks, j.CorruptionsFixed, j.LeaksFixed} {
		if n < 0 {
			return CheckReport{}, fmt.Errorf("decode: negative count %d", n)
		}
	}
	return CheckReport{
		Clusters: j.Total, Allocated: j.Allocated,
		Corruptions: j.Corruptions, Leaks: j.Leaks,
		FixedCorruptions: j.CorruptionsFixed, FixedLeaks: j.LeaksFixed,
		Errors: *j.Errors,
	}, nil
}
