package accel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
)

const (
	recordVersion = 1
	recordMax     = 4 << 10 // bytes; a record has about 300
	bootIDFile    = "/proc/sys/kernel/random/boot_id"
)

// record is the cache file. A verdict holds for one device node during one boot.
type record struct {
	Version int       `json:"version"`
	BootID  string    `json:"boot_id"`
	Dev     uint64    `json:"dev"`
	Inode   uint64    `json:"inode"`
	Rdev    uint64    `json:"rdev"`
	Cause   Cause     `json:"cause"`
	Took    int64     `json:"took_ns"`
	Reason  string    `json:"reason"`
	Checked time.Time `json:"checked"`
}

// Cached is Probe with its answer kept in path, until the next boot or another node at device. Only answers that last
// are kept (proved, slow): the rest cost next to nothing, or may differ a moment later. A file that is not ours, broken
// or outdated counts as none. The verdict is good even when an error says that it could not be kept; when ctx ends, its
// error comes with a verdict of Interrupted.
func Cached(ctx context.Context, path, device string) (Verdict, error) {
	return cached(ctx, path, device, limit)
}

func cached(ctx context.Context, path, device string, limit time.Duration) (Verdict, error) {
	key, err := currentKey(device)
	if err != nil {
		v := probe(ctx, device, limit) // says what is wrong with the device in people's words
		return v, interrupted(ctx, v)
	}
	if r, err := readRecord(path); err == nil && r.matches(key) {
		return r.verdict(), nil
	}
	v := probe(ctx, device, limit)
	if !v.Cause.lasting() {
		return v, interrupted(ctx, v)
	}
	key.Cause, key.Took, key.Reason, key.Checked = v.Cause, int64(v.Took), v.Reason, v.Checked
	data, err := json.Marshal(key)
	if err != nil {
		return v, fmt.Errorf("encode KVM verdict: %w", err)
	}
	if err := atomicfile.WriteVolatile(path, append(data, '\n'), 0o644); err != nil {
		return v, fmt.Errorf("keep KVM verdict: %w", err)
	}
	return v, nil
}

func interrupted(ctx context.Context, v Verdict) error {
	if v.Cause == Interrupted {
		return context.Cause(ctx)
	}
	return nil
}

// currentKey is a record with everything but the verdict.
func currentKey(device string) (record, error) {
	id, err := os.ReadFile(bootIDFile)
	if err != nil {
		return record{}, fmt.Errorf("read boot id: %w", err)
	}
	r := record{Version: recordVersion, BootID: strings.TrimSpace(string(id))}
	r.Dev, r.Inode, r.Rdev, err = identity(device)
	return r, err
}

func (r record) matches(k record) bool {
	return r.BootID == k.BootID && r.Dev == k.Dev && r.Inode == k.Inode && r.Rdev == k.Rdev
}

func (r record) verdict() Verdict {
	return Verdict{Usable: r.Cause == Proved, Cause: r.Cause, Took: time.Duration(r.Took), Reason: r.Reason, Checked: r.Checked}
}

var errForeign = errors.New("not a file of ours")

// readRecord reads path if only we or root can have written it.
func readRecord(path string) (record, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return record{}, err
	}
	ours := st.Uid == 0 || st.Uid == uint32(os.Geteuid())
	if st.Mode&unix.S_IFMT != unix.S_IFREG || !ours || st.Mode&0o022 != 0 {
		return record{}, errForeign
	}
	data, err := io.ReadAll(io.LimitReader(f, recordMax+1))
	if err != nil {
		return record{}, err
	}
	return decodeRecord(data)
}

// decodeRecord accepts exactly what Cached writes.
func decodeRecord(data []byte) (record, error) {
	if len(data) > recordMax {
		return record{}, fmt.Errorf("KVM verdict: more than %d bytes", recordMax)
	}
	var r record
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return record{}, fmt.Errorf("KVM verdict: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return record{}, errors.New("KVM verdict: more than one value")
	}
	if r.Version != recordVersion || !r.Cause.lasting() || (r.Cause == Slow) != (r.Reason != "") || r.Took < 0 {
		return record{}, errors.New("KVM verdict: not of this version")
	}
	return r, nil
}
