package hatest

import (
	"encoding/hex"
	"testing"
)

func TestDecodeKnowsTheCapturedAdvert(t *testing.T) {
	// captured from ucarp 1.5.2
	raw, err := hex.DecodeString("01005e00001200005e00002a08004510003841214000ff704fc30a4d0002e0000012212a6407000187dd6d44c59eededa83b" +
		"17d90f8c6abab6ec1ae4893f43bc4ebec78ae2ad")
	if err != nil {
		t.Fatal(err)
	}
	want := "00:00:5e:00:00:2a > 01:00:5e:00:00:12 10.77.0.2 > 224.0.0.18 proto 112 ttl 255 " +
		"212a6407000187dd6d44c59eededa83b17d90f8c6abab6ec1ae4893f43bc4ebec78ae2ad"
	if got := decode(raw).String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x01\x00\x5e\x00\x00\x12\x00\x00\x5e\x00\x00\x2a\x08\x00\x4f\x10\x00\x38"))
	f.Fuzz(func(t *testing.T, raw []byte) { _ = decode(raw).String() })
}
