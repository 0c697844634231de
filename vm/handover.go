package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
	"kvmctl/vm/qmp"
)

// A guest's memory goes to a file and back as a migration whose other end is kvmctl, on a socketpair with a return path. So QEMU gives
// the guest up only after kvmctl has said that it has everything, and until then a kvmctl that dies closes the socket: the migration
// fails and the guest goes on by itself (migration/migration.c, migration_completion and migration_iteration_finish).

// Messages on a return path: type and length, 2 bytes each, then the content, all big endian (migration/migration.h, mig_rp_message_type).
const (
	rpShut   = 1 // 4 bytes: 0, the destination has all and is well
	rpPong   = 2 // 4 bytes
	maxRPMsg = 512
)

func shutMessage() []byte { return []byte{0, rpShut, 0, 4, 0, 0, 0, 0} }

// Times of a hand-over.
const (
	streamIdle  = 20 * time.Millisecond // a stream that is silent for so long may have ended
	streamStall = time.Minute           // neither a byte nor the end: QEMU hangs
	handedOver  = 30 * time.Second      // from our word that we have all to QEMU's end of the migration
)

// migrationSocket makes a socketpair and gives QEMU one end under a name.
func migrationSocket(ctx context.Context, c *qmp.Client, name string) (*net.UnixConn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), name), os.NewFile(uintptr(pair[1]), name)
	defer ours.Close() // FileConn has its own
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("use a socketpair: %w", err)
	}
	if err := c.ExecuteWithFile(ctx, "getfd", map[string]any{"fdname": name}, nil, theirs); err != nil {
		conn.Close()
		return nil, fmt.Errorf("hand over a socket: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// setReturnPath says whether QEMU's next migration waits for the destination's word.
func setReturnPath(ctx context.Context, c *qmp.Client, on bool) error {
	return c.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": []any{map[string]any{"capability": "return-path", "state": on}}}, nil)
}

// receive takes a migration stream until QEMU closes it. Where it has ended for all that can be seen, complete is called, and then
// QEMU is told that we have everything; should there come more, complete is called again at the end. told: from then on only QEMU knows
// where the guest is, whatever the error.
func receive(ctx context.Context, conn *net.UnixConn, w *savedWriter, complete func() error, progress func(units.Size)) (told bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 1<<20)
	began, completed := time.Now(), int64(-1)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(streamIdle))
		if err := ctx.Err(); err != nil && !told {
			return false, err
		}
		n, err := conn.Read(buf)
		if n > 0 {
			began = time.Now()
			if _, err := w.Write(buf[:n]); err != nil {
				return told, err
			}
			progress(units.Size(w.size))
		}
		switch {
		case errors.Is(err, io.EOF):
			if completed == w.size {
				return told, nil
			}
			return told, complete() // there was more, or QEMU gave up: the caller asks how it ended
		case errors.Is(err, os.ErrDeadlineExceeded):
			if time.Since(began) > streamStall {
				return told, fmt.Errorf("QEMU sent nothing for %v: %w", streamStall, err)
			}
			if told || w.size == 0 || !w.ended() {
				continue
			}
			if err := complete(); err != nil {
				return false, err
			}
			if err := ctx.Err(); err != nil {
				return false, err
			}
			completed, told, began = w.size, true, time.Now()
			if _, err := conn.Write(shutMessage()); err != nil {
				return true, fmt.Errorf("tell QEMU that its memory is saved: %w", err)
			}
		case err != nil:
			return told, fmt.Errorf("read the guest's memory: %w", err)
		}
	}
}

// send gives QEMU a stream of size bytes and waits until it says that it has loaded it. It returns the checksum of what was sent.
func send(ctx context.Context, conn *net.UnixConn, r io.Reader, progress func(units.Size)) (crc uint32, err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer := make(chan error, 1)
	go func() { answer <- awaitShut(conn) }() // ends with the connection, which the caller closes; waited for below
	defer func() {
		if err != nil {
			conn.Close()
		}
		if e := <-answer; err == nil {
			err = e
		}
	}()
	buf := make([]byte, 1<<20)
	var done units.Size
	for {
		n, rerr := r.Read(buf)
		if n > 0 {
			crc = crc32.Update(crc, castagnoli, buf[:n])
			_ = conn.SetDeadline(time.Now().Add(streamStall))
			if err := ctx.Err(); err != nil {
				return crc, err
			}
			if _, err := conn.Write(buf[:n]); err != nil {
				return crc, fmt.Errorf("give QEMU the guest's memory: %w", err)
			}
			done += units.Size(n)
			progress(done)
		}
		if errors.Is(rerr, io.EOF) {
			return crc, nil
		}
		if rerr != nil {
			return crc, fmt.Errorf("read the guest's memory: %w", rerr)
		}
	}
}

// awaitShut reads the return path until QEMU says how the load ended.
func awaitShut(r io.Reader) error {
	for {
		kind, value, err := readRP(r)
		if err != nil {
			return fmt.Errorf("wait for QEMU to load the guest's memory: %w", err)
		}
		if kind != rpShut {
			continue
		}
		if value != 0 {
			return fmt.Errorf("QEMU could not load the guest's memory (error %d)", value)
		}
		return nil
	}
}

// readRP reads one message of a return path; value is its first four bytes, if it has so many.
func readRP(r io.Reader) (kind uint16, value uint32, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, err
	}
	kind = binary.BigEndian.Uint16(head[:])
	n := binary.BigEndian.Uint16(head[2:])
	if n > maxRPMsg {
		return 0, 0, fmt.Errorf("a message of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, 0, err
	}
	if n >= 4 {
		value = binary.BigEndian.Uint32(body)
	}
	return kind, value, nil
}

// GaveUpError says that QEMU took the guest back.
type GaveUpError struct{ Why string }

func (e *GaveUpError) Error() string { return "QEMU gave up: " + e.Why }

// migrationEnd waits until QEMU says how its migration ended.
func (h *Host) migrationEnd(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, handedOver)
	defer cancel()
	for {
		var m struct {
			Status string
			Desc   string `json:"error-desc"`
		}
		c, closeMonitor, err := h.Monitor(ctx, name)
		if err == nil {
			err = c.Execute(ctx, "query-migrate", nil, &m)
			closeMonitor()
		}
		switch {
		case err != nil:
			return fmt.Errorf("ask how saving ended: %w", err)
		case m.Status == "completed":
			return nil
		case m.Status == "failed" && m.Desc != "":
			return &GaveUpError{m.Desc}
		case m.Status == "failed" || m.Status == "cancelled" || m.Status == "none":
			return &GaveUpError{"migration " + m.Status}
		}
		if pause(ctx, 5*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("QEMU does not end it (%s): %w", m.Status, ctx.Err())
		}
	}
}
