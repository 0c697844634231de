package nbd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/vm/image/nbd"
)

// ask is what the client sends: its flags, and NBD_OPT_GO for the nameless export with no wishes.
const ask = "\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00"

// The server's side, as doc/proto.md ("Fixed newstyle negotiation", "Option reply types") has it.
const (
	hello = "NBDMAGICIHAVEOPT\x00\x03"
	reply = "\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07"
	ack   = reply + "\x00\x00\x00\x01\x00\x00\x00\x00"
	block = reply + "\x00\x00\x00\x03\x00\x00\x00\x0e\x00\x03\x00\x00\x00\x01\x00\x00\x10\x00\x02\x00\x00\x00"
	size  = reply + "\x00\x00\x00\x03\x00\x00\x00\x0c\x00\x00"
	info  = size + "\x00\x00\x00\x00\x00\xa0\x00\x00\x04\x0f"
	rest  = "what follows is the kernel's"
)

// server is a conn whose other side said everything beforehand.
type server struct {
	io.Reader
	got bytes.Buffer
}

func (s *server) Write(b []byte) (int, error) { return s.got.Write(b) }

func TestHandshake(t *testing.T) {
	for name, tt := range map[string]struct {
		said string
		want nbd.Export
		err  string
	}{
		"QEMU 7.2":                      {hello + block + info + ack + rest, nbd.Export{Size: 10 << 20, Flags: 0x40f}, ""},
		"only what has to be told":      {hello + info + ack + rest, nbd.Export{Size: 10 << 20, Flags: 0x40f}, ""},
		"oldstyle":                      {"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\x00\x00", nbd.Export{}, "no fixed newstyle NBD server"},
		"newstyle that is not fixed":    {"NBDMAGICIHAVEOPT\x00\x00", nbd.Export{}, "no fixed newstyle NBD server"},
		"another protocol":              {"HTTP/1.1 400 Bad Request\r\n", nbd.Export{}, "no fixed newstyle NBD server"},
		"silence":                       {"", nbd.Export{}, "read the NBD server's greeting: EOF"},
		"ends in the middle":            {hello + info[:25], nbd.Export{}, "read the NBD server's reply: unexpected EOF"},
		"an ack before the export":      {hello + ack, nbd.Export{}, "reply of type 1: no fixed newstyle NBD server"},
		"NBD_REP_SERVER":                {hello + reply + "\x00\x00\x00\x02\x00\x00\x00\x00", nbd.Export{}, "reply of type 2: no fixed newstyle NBD server"},
		"a reply to another option":     {hello + strings.Replace(ack, "\x07", "\x08", 1), nbd.Export{}, "reply to option 8: no fixed newstyle NBD server"},
		"a reply that fills the memory": {hello + reply + "\x00\x00\x00\x03\xff\xff\xff\xff", nbd.Export{}, "reply of 4294967295 bytes: no fixed newstyle NBD server"},
		"replies without end":           {hello + strings.Repeat(block, 100), nbd.Export{}, "more than 64 replies: no fixed newstyle NBD server"},
		"a size beyond int64":           {hello + size + "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x01" + ack, nbd.Export{}, "an export of 9223372036854775808 bytes with flags 0x1: no fixed newstyle NBD server"},
		"without NBD_FLAG_HAS_FLAGS":    {hello + size + "\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00" + ack, nbd.Export{}, "an export of 512 bytes with flags 0x0: no fixed newstyle NBD server"},
		"NBD_REP_ERR_UNKNOWN":           {hello + reply + "\x80\x00\x00\x06\x00\x00\x00\x08no\nsuch\x1b", nbd.Export{}, "the NBD server refused with error 6: no such"},
		"an error without words":        {hello + reply + "\x80\x00\x00\x01\x00\x00\x00\x00", nbd.Export{}, "the NBD server refused with error 1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := strings.NewReader(tt.said)
			s := &server{Reader: r}
			got, err := nbd.Handshake(s)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if got != tt.want || said != tt.err {
				t.Fatalf("got %+v, %q; want %+v, %q", got, said, tt.want, tt.err)
			}
			if err == nil && (s.got.String() != ask || r.Len() != len(rest)) {
				t.Errorf("sent %q and left %d bytes; want %q and %d", s.got.String(), r.Len(), ask, len(rest))
			}
		})
	}
}

// FuzzHandshake: whatever a server says, the answer is an export of a possible size or an error, after a bounded number of bytes.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte(hello + block + info + ack))
	f.Add([]byte(hello + reply + "\x80\x00\x00\x06\x00\x00\x00\x07no such"))
	f.Fuzz(func(t *testing.T, said []byte) {
		r := bytes.NewReader(said)
		e, err := nbd.Handshake(&server{Reader: r})
		switch {
		case err != nil && e != nbd.Export{}:
			t.Errorf("%+v and %v", e, err)
		case err == nil && (e.Size < 0 || e.Flags&nbd.FlagHasFlags == 0):
			t.Errorf("%+v", e)
		}
		var refused *nbd.RefusedError
		if errors.As(err, &refused) && strings.ContainsAny(refused.Error(), "\n\x1b") {
			t.Errorf("unprintable: %q", refused.Error())
		}
	})
}

// TestHandshakeWithQEMU speaks to a real qemu-nbd, and reads a block over the connection that it leaves.
func TestHandshakeWithQEMU(t *testing.T) {
	testenv.Need(t, testenv.QEMU, "qemu-nbd")
	dir, err := os.MkdirTemp("/tmp", "kv")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	img, sock := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "sock")
	content := append(bytes.Repeat([]byte("k"), 512), make([]byte, 3<<20-512)...)
	if err := os.WriteFile(img+".raw", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", img+".raw", img).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-nbd", "--read-only", "--format=qcow2", "--socket="+sock, img)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var conn net.Conn
	for conn == nil && ctx.Err() == nil {
		if conn, err = (&net.Dialer{}).DialContext(ctx, "unix", sock); err != nil {
			conn = nil
			time.Sleep(5 * time.Millisecond) // until it listens
		}
	}
	if conn == nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	e, err := nbd.Handshake(conn)
	if err != nil || e.Size != 3<<20 || e.Flags&nbd.FlagReadOnly == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	// NBD_CMD_READ of the first block, as the kernel would ask (doc/proto.md, "Request message")
	request := binary.BigEndian.AppendUint32(nil, 0x25609513)
	request = append(request, 0, 0, 0, 0, 'c', 'o', 'o', 'k', 'i', 'e', '0', '1', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0)
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 16+512)
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	if want := "\x67\x44\x66\x98\x00\x00\x00\x00cookie01" + string(content[:512]); string(answer) != want {
		t.Errorf("got %q, want %q", answer, want)
	}
	conn.Close()
	if err := cmd.Wait(); err != nil { // it ends with its one client
		t.Errorf("qemu-nbd: %v", err)
	}
}
