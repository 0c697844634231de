package check

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
)

// smbConn is a connection that knows what the library does not tell: whether the server takes the session's user for a guest.
type smbConn struct {
	*cutConn
	frames smbFrames
}

// smbFrames watches the frames of SMB 2 (MS-SMB2, 2.1 and 2.2.1) go by.
type smbFrames struct {
	head  [smbSessionFlags + 2]byte // the beginning of the frame under way
	have  int                       // bytes of it
	left  int                       // of the frame, still to come
	flags atomic.Uint32             // of the last session that was set up
}

var errFrame = errors.New("no frame of SMB")

// Offsets in a frame: 4 bytes of length, a header of 64 bytes, the body.
const (
	smbStatus       = 4 + 8
	smbCommand      = 4 + 12
	smbSessionFlags = 4 + 64 + 2 // SESSION_SETUP Response (2.2.6)
)

const (
	smbSessionSetup = 1 // SMB2_SESSION_SETUP
	smbIsGuest      = 1 // SMB2_SESSION_FLAG_IS_GUEST
	smbIsNull       = 2 // SMB2_SESSION_FLAG_IS_NULL
)

// stranger tells whether the session is a guest's, or nobody's.
func (f *smbFrames) stranger() bool { return f.flags.Load()&(smbIsGuest|smbIsNull) != 0 }

// see takes what was read.
func (f *smbFrames) see(b []byte) error {
	for len(b) > 0 {
		if f.have < 4 {
			n := copy(f.head[f.have:4], b)
			f.have, b = f.have+n, b[n:]
			if f.have < 4 {
				return nil
			}
			if f.left = int(binary.BigEndian.Uint32(f.head[:4])); f.left > maxSMBFrame {
				return errFrame
			}
		}
		n := min(f.left, len(b))
		f.have += copy(f.head[f.have:], b[:n])
		f.left, b = f.left-n, b[n:]
		if f.left == 0 {
			f.whole()
			f.have = 0
		}
	}
	return nil
}

// whole looks at a frame that is there.
func (f *smbFrames) whole() {
	if f.have < len(f.head) || string(f.head[4:8]) != "\xfeSMB" || binary.LittleEndian.Uint16(f.head[smbCommand:]) != smbSessionSetup ||
		binary.LittleEndian.Uint32(f.head[smbStatus:]) != 0 {
		return
	}
	f.flags.Store(uint32(binary.LittleEndian.Uint16(f.head[smbSessionFlags:])))
}
