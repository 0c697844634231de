package hostcmd

import "io"

// calm passes on what a console said once, for showing again: text, line ends, tabs and colours. Everything else that drives a terminal is left
// out, above all questions, such as where the cursor is: the terminal would answer them again, and the answer would be
// typed into the guest, or into the admin's shell.
type calm struct {
	w     io.Writer
	state calmState
	seq   []byte // of an unfinished control sequence
	n     int    // bytes of an unfinished control string
}

type calmState int

const (
	calmText   calmState = iota
	calmC1               // behind 0xC2, which may begin an 8-bit control character
	calmEscape           // behind ESC
	calmCSI              // behind ESC [
	calmString           // behind ESC ] and its like, until BEL, ESC or the end of the line
	calmSkip             // behind ESC and an intermediate byte
)

// Bounds of what is taken for one sequence, in bytes: a longer one is none, and what follows is text.
const (
	maxSequence = 64
	maxString   = 4 << 10
)

// Write implements io.Writer. A sequence may be spread over several calls.
func (c *calm) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+1)
	for _, b := range p {
		out = c.feed(out, b)
	}
	if len(out) == 0 {
		return len(p), nil
	}
	if _, err := c.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

const (
	esc = 0x1b
	bel = 0x07
)

func (c *calm) feed(out []byte, b byte) []byte {
	if b == esc { // also ends whatever was unfinished
		c.state, c.seq, c.n = calmEscape, c.seq[:0], 0
		return out
	}
	switch c.state {
	case calmC1:
		c.state = calmText
		switch {
		case b >= 0x80 && b < 0xa0:
			return out
		case b >= 0xa0 && b < 0xc0:
			return append(out, 0xc2, b)
		}
		return c.plain(out, b) // 0xC2 alone is no text
	case calmEscape:
		switch {
		case b == '[':
			c.state = calmCSI
		case b == ']', b == 'P', b == 'X', b == '^', b == '_': // OSC, DCS, SOS, PM, APC (ECMA-48, 5.6)
			c.state = calmString
		case b >= 0x20 && b < 0x30:
			c.state = calmSkip
		default:
			c.state = calmText
		}
		return out
	case calmSkip:
		if b < 0x20 || b >= 0x30 {
			c.state = calmText
		}
		return out
	case calmCSI:
		return c.csi(out, b)
	case calmString:
		if c.n++; b == bel || b == '\n' || c.n > maxString {
			c.state, c.n = calmText, 0
		}
		return out
	default:
		return c.plain(out, b)
	}
}

// csi collects a control sequence and lets colours through.
func (c *calm) csi(out []byte, b byte) []byte {
	switch {
	case b >= 0x40 && b < 0x7f:
		c.state = calmText
		if b == 'm' && plainColour(c.seq) {
			out = append(append(append(out, esc, '['), c.seq...), 'm')
		}
	case b < 0x20 || b >= 0x7f || len(c.seq) == maxSequence:
		c.state = calmText
		return c.plain(out, b)
	default:
		c.seq = append(c.seq, b)
	}
	return out
}

// plainColour tells SGR from its private relatives, some of which are questions.
func plainColour(seq []byte) bool {
	for _, b := range seq {
		if (b < '0' || b > '9') && b != ';' && b != ':' {
			return false
		}
	}
	return true
}

func (c *calm) plain(out []byte, b byte) []byte {
	switch {
	case b == 0xc2:
		c.state = calmC1
	case b == '\n', b == '\r', b == '\t', b == '\b', b >= 0x20 && b != 0x7f:
		out = append(out, b)
	}
	return out
}
