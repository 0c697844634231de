package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// The numbers of the NBD protocol's fixed newstyle negotiation (doc/proto.md of the NBD project, "Values"; include/block/nbd.h of QEMU).
const (
	magicServer = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption = 0x49484156454f5054 // "IHAVEOPT"
	magicReply  = 0x0003e889045565a9

	handshakeFixedNewstyle = 1 << 0 // NBD_FLAG_FIXED_NEWSTYLE
	handshakeNoZeroes      = 1 << 1 // NBD_FLAG_NO_ZEROES

	optGo = 7 // NBD_OPT_GO

	repAck   = 1 // NBD_REP_ACK
	repInfo  = 3 // NBD_REP_INFO
	repError = 1 << 31

	infoExport = 0 // NBD_INFO_EXPORT
)

// The transmission flags that the kernel's client acts on (include/uapi/linux/nbd.h).
const (
	FlagHasFlags = 1 << 0
	FlagReadOnly = 1 << 1
	FlagFlush    = 1 << 2
	FlagFUA      = 1 << 3
	FlagTrim     = 1 << 5
)

const (
	// maxReply bounds the data of one reply, in bytes: no string of the protocol's is longer than 4096.
	maxReply = 4096 + 64
	// maxReplies bounds how many a server may send before it comes to the point; QEMU sends two or three.
	maxReplies = 64
)

// Export is what a server shows.
type Export struct {
	Size  int64 // bytes
	Flags uint16
}

// RefusedError is what a server said instead of showing its export.
type RefusedError struct {
	Type uint32 // NBD_REP_ERR_…
	Text string
}

func (e *RefusedError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("the NBD server refused with error %d", e.Type&^uint32(repError))
	}
	return fmt.Sprintf("the NBD server refused with error %d: %s", e.Type&^uint32(repError), e.Text)
}

// ErrProtocol says that the other side is no NBD server of our kind.
var ErrProtocol = errors.New("no fixed newstyle NBD server")

// Handshake asks the server at the other end of conn for its nameless export. Not one byte is read beyond it: what follows on conn is
// transmission, which the kernel takes over. The caller gives conn a deadline. The errors: *RefusedError, ErrProtocol, those of conn.
func Handshake(conn io.ReadWriter) (Export, error) {
	var hello struct {
		Magic, Option uint64
		Flags         uint16
	}
	if err := binary.Read(conn, binary.BigEndian, &hello); err != nil {
		return Export{}, fmt.Errorf("read the NBD server's greeting: %w", err)
	}
	if hello.Magic != magicServer || hello.Option != magicOption || hello.Flags&handshakeFixedNewstyle == 0 {
		return Export{}, ErrProtocol
	}
	flags := uint32(hello.Flags & (handshakeFixedNewstyle | handshakeNoZeroes))
	ask := binary.BigEndian.AppendUint32(nil, flags)
	ask = binary.BigEndian.AppendUint64(ask, magicOption)
	ask = binary.BigEndian.AppendUint32(ask, optGo)
	ask = binary.BigEndian.AppendUint32(ask, 6) // the name's length, and how many other facts are wanted: none and none
	ask = append(ask, 0, 0, 0, 0, 0, 0)
	if _, err := conn.Write(ask); err != nil {
		return Export{}, fmt.Errorf("ask the NBD server for its export: %w", err)
	}
	var e Export
	found := false
	for range maxReplies {
		kind, data, err := readReply(conn)
		switch {
		case err != nil:
			return Export{}, err
		case kind == repAck && found:
			return e, nil
		case kind == repInfo && len(data) >= 2:
			if binary.BigEndian.Uint16(data) != infoExport {
				continue // what was not asked for may be told, and ignored
			}
			if e, err = parseExport(data[2:]); err != nil {
				return Export{}, err
			}
			found = true
		default:
			return Export{}, fmt.Errorf("reply of type %d: %w", kind, ErrProtocol)
		}
	}
	return Export{}, fmt.Errorf("more than %d replies: %w", maxReplies, ErrProtocol)
}

// readReply reads one reply to our option.
func readReply(r io.Reader) (kind uint32, data []byte, err error) {
	var head struct {
		Magic                uint64
		Option, Kind, Length uint32
	}
	if err := binary.Read(r, binary.BigEndian, &head); err != nil {
		return 0, nil, fmt.Errorf("read the NBD server's reply: %w", err)
	}
	if head.Magic != magicReply || head.Option != optGo {
		return 0, nil, fmt.Errorf("reply to option %d: %w", head.Option, ErrProtocol)
	}
	if head.Length > maxReply {
		return 0, nil, fmt.Errorf("reply of %d bytes: %w", head.Length, ErrProtocol)
	}
	data = make([]byte, head.Length)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, fmt.Errorf("read the NBD server's reply: %w", err)
	}
	if head.Kind&repError != 0 {
		return 0, nil, &RefusedError{head.Kind, printable(data)}
	}
	return head.Kind, data, nil
}

// parseExport reads the body of an NBD_INFO_EXPORT.
func parseExport(b []byte) (Export, error) {
	if len(b) != 10 {
		return Export{}, fmt.Errorf("an export told in %d bytes: %w", len(b), ErrProtocol)
	}
	size, flags := binary.BigEndian.Uint64(b), binary.BigEndian.Uint16(b[8:])
	if size > math.MaxInt64 || flags&FlagHasFlags == 0 {
		return Export{}, fmt.Errorf("an export of %d bytes with flags %#x: %w", size, flags, ErrProtocol)
	}
	return Export{int64(size), flags}, nil
}

// printable makes one short line of what a server said.
func printable(b []byte) string {
	const most = 300
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b[:min(len(b), most)]), "?"))
	return strings.TrimSpace(text)
}
