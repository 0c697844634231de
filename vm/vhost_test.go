package vm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestVHostIsUsedWhereItPaysAndCanBeHad(t *testing.T) {
	device := filepath.Join(t.TempDir(), "vhost-net")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := device + "-not"
	for _, tt := range []struct {
		device string
		nic    NIC
		accel  Accel
		want   VHost // empty: refused
	}{
		{device, NIC{Model: "virtio"}, AccelKVM, VHostOn},
		{device, NIC{Model: "virtio"}, AccelTCG, VHostOff},
		{device, NIC{Model: "e1000"}, AccelKVM, VHostOff},
		{device, NIC{Model: "virtio", VHost: VHostOn}, AccelTCG, VHostOn},
		{device, NIC{Model: "virtio", VHost: VHostOff}, AccelKVM, VHostOff},
		{missing, NIC{Model: "virtio"}, AccelKVM, VHostOff},
		{missing, NIC{Model: "virtio", VHost: VHostOn}, AccelKVM, ""},
		{"", NIC{Model: "virtio", VHost: VHostOn}, AccelKVM, ""},
	} {
		h := &Host{VHostDevice: tt.device}
		spec := &Spec{NICs: []NIC{tt.nic}}
		got, err := h.chooseVHost(spec, tt.accel)
		if tt.want == "" {
			var no *NoVHostError
			if !errors.As(err, &no) || no.Hint() == "" || tt.device != "" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%+v: error %v, want a NoVHostError", tt, err)
			}
			continue
		}
		if err != nil || got.NICs[0].VHost != tt.want {
			t.Errorf("%+v: %+v, error %v", tt, got, err)
		}
		if spec.NICs[0].VHost != tt.nic.VHost {
			t.Errorf("%+v: the caller's spec was changed", tt)
		}
	}
}
