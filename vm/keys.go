package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvmctl/internal/nearest"
	"kvmctl/vm/qmp"
)

// Chord is keys that are pressed one after the other, held together and released in reverse: QKeyCode names.
type Chord []string

// maxChord bounds a chord: more keys than fingers.
const maxChord = 10

// KeyError is a key that no keyboard of the guest's has.
type KeyError struct {
	What string // as it was given
	Why  string
	hint string
}

func (e *KeyError) Error() string { return fmt.Sprintf("%q %s", e.What, e.Why) }

// Hint names the key that may have been meant.
func (e *KeyError) Hint() string { return e.hint }

// ParseChord reads "ctrl-alt-f1": names of keys joined by '-'. A single character that a US keyboard types without shift is a key, too.
func ParseChord(s string) (Chord, error) {
	words := strings.Split(strings.ToLower(s), "-")
	if s == "-" {
		words = []string{"minus"}
	}
	if len(words) > maxChord {
		return nil, &KeyError{s, fmt.Sprintf("has %d keys: at most %d are pressed together", len(words), maxChord), ""}
	}
	var c Chord
	for _, w := range words {
		key, err := parseKey(w)
		if err != nil {
			return nil, err
		}
		if slices.Contains(c, key) {
			return nil, &KeyError{s, "has a key twice", ""}
		}
		c = append(c, key)
	}
	return c, nil
}

func parseKey(w string) (string, error) {
	if code, ok := keyAliases[w]; ok {
		return code, nil
	}
	if slices.Contains(keyCodes, w) {
		return w, nil
	}
	if len(w) == 1 {
		if key, shift := keyOf(w[0]); key != "" && !shift {
			return key, nil
		}
	}
	hint := "names complete with Tab; text is sent by --text"
	if near, ok := nearest.Find(w, KeyNames()); ok && len(w) > 1 {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return "", &KeyError{w, "is no key", hint}
}

// maxText bounds what is typed at once, in bytes: at 30 ms a stroke it takes four minutes.
const maxText = 4 << 10

// TextError is a character of a text that cannot be typed. It does not show it: the text may be a password.
type TextError struct {
	Byte int // from 1
	Why  string
}

func (e *TextError) Error() string { return fmt.Sprintf("byte %d of the text %s", e.Byte, e.Why) }

// Hint says what works instead.
func (e *TextError) Hint() string {
	return "press the keys that type it in the guest's layout, by name"
}

// ParseText gives the strokes that type s on a US keyboard, the layout that a guest has unless it was told another.
func ParseText(s string) ([]Chord, error) {
	if len(s) > maxText {
		return nil, fmt.Errorf("the text has %d bytes, and at most %d are typed at once", len(s), maxText)
	}
	var all []Chord
	for i, r := range s {
		if r > 0x7e {
			return nil, &TextError{i + 1, "is not on a US keyboard"}
		}
		key, shift := keyOf(byte(r))
		switch {
		case key == "":
			return nil, &TextError{i + 1, "is on no key"}
		case shift:
			all = append(all, Chord{"shift", key})
		default:
			all = append(all, Chord{key})
		}
	}
	return all, nil
}

// Unescape reads \n, \t, \e and \\ in a text as a shell's $'…' would; anything else behind a backslash is an error.
func Unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", errors.New(`the text ends with a lone backslash: write \\`)
		}
		c, ok := map[byte]byte{'n': '\n', 't': '\t', 'e': '\x1b', '\\': '\\'}[s[i]]
		if !ok {
			return "", fmt.Errorf(`the text has \%c, which is neither \n, \t, \e nor \\`, s[i])
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// keyBatch is how many strokes go over the tool's monitor at once. QEMU queues them, 1,024 events at most (ui/input.c), and drops the
// rest: what is sent is waited for before the next batch, without the monitor, so that status need not wait.
const keyBatch = 8

// SendKeys types strokes on a running guest's keyboard. Each key is held for hold, QEMU's own clock, and as long lies between two;
// it returns when the last was released. QEMU releases what it pressed, whatever becomes of us. sent tells how many it was given.
func (h *Host) SendKeys(ctx context.Context, name string, strokes []Chord, hold time.Duration) (sent int, err error) {
	for batch := range slices.Chunk(strokes, keyBatch) {
		n, took, err := h.sendBatch(ctx, name, batch, hold)
		sent += n
		if err != nil {
			return sent, err
		}
		if pause(ctx, took); ctx.Err() != nil {
			return sent, ctx.Err()
		}
	}
	return sent, nil
}

type qemuKey struct {
	Type string `json:"type"`
	Data string `json:"data"`
}

func (h *Host) sendBatch(ctx context.Context, name string, batch []Chord, hold time.Duration) (sent int, took time.Duration, err error) {
	c, closeMonitor, err := h.Monitor(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	defer closeMonitor()
	if err := takesKeys(ctx, c); err != nil {
		return 0, 0, err
	}
	for _, chord := range batch {
		args := struct {
			Keys []qemuKey `json:"keys"`
			Hold int64     `json:"hold-time"` // ms
		}{Hold: hold.Milliseconds()}
		for _, k := range chord {
			args.Keys = append(args.Keys, qemuKey{"qcode", k})
		}
		if err := c.Execute(ctx, "send-key", args, nil); err != nil {
			return sent, took, err
		}
		sent++
		took += time.Duration(2*len(chord)) * hold // ui/input-legacy.c: a pause behind each press and each release
	}
	return sent, took, nil
}

// ErrNoKeys says that a guest's CPUs stand still: QEMU would drop the keys without a word (ui/input.c).
var ErrNoKeys = errors.New("its CPUs stand still, and QEMU drops keys meanwhile")

func takesKeys(ctx context.Context, c *qmp.Client) error {
	var st struct{ Status string }
	if err := c.Execute(ctx, "query-status", nil, &st); err != nil {
		return err
	}
	if st.Status != "running" && st.Status != "suspended" {
		return fmt.Errorf("%w (%s)", ErrNoKeys, st.Status)
	}
	return nil
}
