package image

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"kvmctl/internal/units"
)

// Info is what qemu-img says of an image.
type Info struct {
	Format        string
	VirtualSize   units.Size
	ActualSize    units.Size // on the disk
	ClusterSize   units.Size // 0: none
	Backing       string     // as written; empty: none
	FullBacking   string     // resolved
	BackingFormat string
	Dirty         bool
	Corrupt       bool
	Snapshots     []Snapshot
}

// Snapshot is an internal snapshot.
type Snapshot struct {
	ID, Name string
	State    units.Size // of the guest's memory; 0: disk only
	Made     time.Time
}

// Info asks qemu-img about the image at path, which goes by format; empty: by what its header says, which is safe here
// since nothing but the header is read. It works while a guest uses the image.
func (t Tool) Info(ctx context.Context, path, format string) (Info, error) {
	path, err := absolute(path)
	if err != nil {
		return Info{}, err
	}
	h, err := header(path)
	if err != nil {
		return Info{}, err
	}
	if h.Format == "vmdk" && h.ExternalData {
		return Info{}, elsewhere(path)
	}
	if format == "" {
		format = h.Format
	}
	args := []string{"info", "--output=json", "-U", "-f", format, path}
	r, err := t.run(ctx, nil, args...)
	if err != nil {
		return Info{}, err
	}
	if r.Exit != 0 {
		return Info{}, toolError("info", r, nil)
	}
	if r.Truncated {
		return Info{}, fmt.Errorf("qemu-img info %s: more than %d bytes of output", path, len(r.Stdout))
	}
	info, err := decodeInfo(r.Stdout)
	if err != nil {
		return Info{}, fmt.Errorf("qemu-img info %s: %w", path, err)
	}
	return info, nil
}

// FormatOf gives the format that an image's header claims, by the name that `qemu-img -f` knows. No program is executed.
func FormatOf(path string) (string, error) {
	h, err := header(path)
	if err != nil {
		return "", err
	}
	if h.Format == "vmdk" && h.ExternalData {
		return "", elsewhere(path)
	}
	return h.Format, nil
}

func decodeInfo(data []byte) (Info, error) {
	var j struct {
		Format        string `json:"format"`
		Virtual       *int64 `json:"virtual-size"`
		Actual        int64  `json:"actual-size"`
		Cluster       int64  `json:"cluster-size"`
		Backing       string `json:"backing-filename"`
		FullBacking   string `json:"full-backing-filename"`
		BackingFormat string `json:"backing-filename-format"`
		Dirty         bool   `json:"dirty-flag"`
		Specific      struct {
			Data struct {
				Corrupt bool `json:"corrupt"`
			} `json:"data"`
		} `json:"format-specific"`
		Snapshots []struct {
			ID    string `json:"id"`
			Name  string `json:"name"`
			State int64  `json:"vm-state-size"`
			Sec   int64  `json:"date-sec"`
			Nsec  int64  `json:"date-nsec"`
		} `json:"snapshots"`
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return Info{}, fmt.Errorf("decode: %w", err)
	}
	if j.Format == "" || j.Virtual == nil || *j.Virtual < 0 || j.Actual < 0 || j.Cluster < 0 {
		return Info{}, fmt.Errorf("decode: no format or no size in %.200q", data)
	}
	info := Info{
		Format:        j.Format,
		VirtualSize:   units.Size(*j.Virtual),
		ActualSize:    units.Size(j.Actual),
		ClusterSize:   units.Size(j.Cluster),
		Backing:       j.Backing,
		FullBacking:   j.FullBacking,
		BackingFormat: j.BackingFormat,
		Dirty:         j.Dirty,
		Corrupt:       j.Specific.Data.Corrupt,
	}
	for _, s := range j.Snapshots {
		info.Snapshots = append(info.Snapshots, Snapshot{s.ID, s.Name, units.Size(s.State), time.Unix(s.Sec, s.Nsec).UTC()})
	}
	return info, nil
}
