package image

import (
	"context"
	"strings"
)

// SnapshotCreate makes an internal snapshot of a qcow2 image that nobody uses.
func (t Tool) SnapshotCreate(ctx context.Context, path, name string) error {
	return t.snapshot(ctx, "-c", path, name)
}

// SnapshotApply turns a qcow2 image that nobody uses back to a snapshot.
func (t Tool) SnapshotApply(ctx context.Context, path, name string) error {
	return t.snapshot(ctx, "-a", path, name)
}

// SnapshotDelete removes a snapshot of a qcow2 image that nobody uses.
func (t Tool) SnapshotDelete(ctx context.Context, path, name string) error {
	return t.snapshot(ctx, "-d", path, name)
}

// snapshot names the driver, so that qemu-img does not guess; a comma in a path is doubled (qemu-img(1), "--image-opts").
func (t Tool) snapshot(ctx context.Context, act, path, name string) error {
	path, err := absolute(path)
	if err != nil {
		return err
	}
	opts := "driver=qcow2,file.driver=file,file.filename=" + strings.ReplaceAll(path, ",", ",,")
	return orLocked(ctx, t.do(ctx, nil, nil, "snapshot", "--image-opts", act, name, opts), true, path)
}
