package peer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Version is that of the frames. A newer one is answered all the same: what is not known in it is left out and named.
const Version = 1

// MaxFrame bounds one frame, in bytes without its length.
const MaxFrame = 64 << 10

// Reasons to drop a connection for what it carries.
var (
	ErrFrameTooLong = errors.New("the frame is longer than 64 KiB")
	ErrBadFrame     = errors.New("the frame is not one of kvmha's")
)

// frame is a request, or the answer to one: a length of 4 bytes, most significant first, then a JSON object.
type frame struct {
	Version int             `json:"version"`
	Program string          `json:"program,omitempty"` // the sender's version, as kvmha version prints it
	Verb    Verb            `json:"verb,omitempty"`    // of a request
	Body    json.RawMessage `json:"body,omitempty"`
	Error   *wireError      `json:"error,omitempty"` // of an answer
}

// wireError is an error on its way to the other side.
type wireError struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// maxUnknown bounds how many unknown fields of a frame are named.
const maxUnknown = 8

// parseFrame reads the JSON object of a frame. Fields of a later version are left out; their names come back, sorted, at most maxUnknown of them.
func parseFrame(data []byte) (f frame, unknown []string, err error) {
	if len(data) > MaxFrame {
		return frame{}, nil, ErrFrameTooLong
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil || fields == nil { // what it says of bytes from outside helps nobody
		return frame{}, nil, ErrBadFrame
	}
	for key, raw := range fields {
		var to any
		switch key {
		case "version":
			to = &f.Version
		case "program":
			to = &f.Program
		case "verb":
			to = &f.Verb
		case "body":
			f.Body = raw
			continue
		case "error":
			to = &f.Error
		default:
			unknown = append(unknown, clean(key, 40))
			continue
		}
		if json.Unmarshal(raw, to) != nil {
			return frame{}, nil, ErrBadFrame
		}
	}
	if f.Version < 1 {
		return frame{}, nil, ErrBadFrame
	}
	f.Program, f.Verb = clean(f.Program, 80), Verb(clean(string(f.Verb), 40))
	if f.Error != nil {
		f.Error.Code = Code(clean(string(f.Error.Code), 40))
		f.Error.Text, f.Error.Hint = clean(f.Error.Text, 500), clean(f.Error.Hint, 500)
	}
	slices.Sort(unknown)
	return f, unknown[:min(len(unknown), maxUnknown)], nil
}

// clean makes a text from the network one that a log and a terminal can show: at most limit bytes, nothing but printable characters.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffd || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// readFrame reads one frame.
func readFrame(r io.Reader) (frame, []string, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, nil, fmt.Errorf("read a frame: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return frame{}, nil, ErrFrameTooLong
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return frame{}, nil, fmt.Errorf("read a frame: %w", err)
	}
	return parseFrame(data)
}

// writeFrame writes one frame, whose body is v; nil is none.
func writeFrame(w io.Writer, f frame, v any) error {
	f.Version = Version
	if v != nil {
		body, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("write a frame: %w", err)
		}
		f.Body = body
	}
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write a frame: %w", err)
	}
	if len(data) > MaxFrame {
		return ErrFrameTooLong
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(data)), uint32(len(data)))
	if _, err := w.Write(append(out, data...)); err != nil {
		return fmt.Errorf("write a frame: %w", err)
	}
	return nil
}
