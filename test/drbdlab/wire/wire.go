// Package wire is how a lab runs programs inside its guests over one stream: many at once, each with its output as it comes.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kind is what a frame carries.
type Kind byte

// The kinds.
const (
	Start  Kind = 's' // to the guest: Command as JSON
	Kill   Kind = 'k' // to the guest: end the program's process group
	Hello  Kind = 'h' // to the guest and back, with the same payload: whoever speaks now
	Stdout Kind = 'o' // from the guest
	Stderr Kind = 'e' // likewise
	Exit   Kind = 'x' // likewise: Ended as JSON
)

// Command is a program to run.
type Command struct {
	Argv  []string `json:"argv"`
	Env   []string `json:"env,omitempty"`
	Stdin []byte   `json:"stdin,omitempty"`
}

// Ended is how it ended.
type Ended struct {
	Exit   int    `json:"exit"`   // -1: by a signal
	Signal int    `json:"signal"` // 0: none
	Error  string `json:"error"`  // it could not be started
}

// Frame is one message. ID is that of the program.
type Frame struct {
	ID   uint32
	Kind Kind
	Data []byte
}

// MaxData is the most that one frame carries, in bytes.
const MaxData = 32 << 20

const magic = 0xd7bd1ab0

// ErrTooLong says that a frame is longer than any of ours.
var ErrTooLong = errors.New("a frame that is too long")

// Write sends a frame in one call.
func Write(w io.Writer, f Frame) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 13+len(f.Data)), magic)
	b = binary.BigEndian.AppendUint32(b, f.ID)
	b = append(b, byte(f.Kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Data)))
	if _, err := w.Write(append(b, f.Data...)); err != nil {
		return fmt.Errorf("write a frame: %w", err)
	}
	return nil
}

// Read takes the next frame. What stands before its magic is left out: a reader that came before may have taken a part of the frame there.
func Read(r io.Reader) (Frame, error) {
	var head [13]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, fmt.Errorf("read a frame: %w", err)
	}
	for binary.BigEndian.Uint32(head[:]) != magic {
		copy(head[:], head[1:])
		if _, err := io.ReadFull(r, head[12:]); err != nil {
			return Frame{}, fmt.Errorf("read a frame: %w", err)
		}
	}
	f := Frame{ID: binary.BigEndian.Uint32(head[4:]), Kind: Kind(head[8])}
	n := binary.BigEndian.Uint32(head[9:])
	if n > MaxData {
		return Frame{}, ErrTooLong
	}
	f.Data = make([]byte, n)
	if _, err := io.ReadFull(r, f.Data); err != nil {
		return Frame{}, fmt.Errorf("read a frame: %w", err)
	}
	return f, nil
}
