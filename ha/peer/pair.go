package peer

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// PairPort is where a node that waits to be paired listens (TCP).
const PairPort = 4695

// The bounds of an exchange, in which nobody has proved anything yet.
const (
	pairWait     = 10 * time.Second // for one exchange
	pairFrame    = 1024             // bytes of one message
	pairAttempts = 8                // exchanges that may end early while a node waits
	pairWords    = 4                // of 8 bits: somebody in between guesses right once in 4·10⁹, and has pairAttempts tries
)

// Introduction is what one exchange has told: who says to be there, and the words that both sides see if nobody is in between.
type Introduction struct {
	Name  string     `json:"name"`
	Key   PublicKey  `json:"key"`
	Words string     `json:"words"`
	From  netip.Addr `json:"from"`
}

// hello is one message of the exchange. The side that connects binds itself to its nonce before it hears the other one's (Commit), so neither can
// choose what the words will be, nor try again and again (Vaudenay, CRYPTO 2005: "Secure communications over insecure channels based on short
// authenticated strings").
type hello struct {
	Version int       `json:"version"`
	Name    string    `json:"name,omitempty"`
	Key     PublicKey `json:"key,omitzero"`
	Commit  []byte    `json:"commit,omitempty"`
	Nonce   []byte    `json:"nonce,omitempty"`
}

const nonceSize = 32

// Errors of an exchange.
var (
	ErrBadHello   = errors.New("this is no kvmha that wants to be paired")
	ErrBroken     = errors.New("the other side does not keep to what it bound itself to: somebody is in between")
	ErrTooMany    = errors.New("somebody begins and breaks off again and again: nobody was paired")
	ErrSameNode   = errors.New("the other side has this node's own name or key")
	ErrOtherWords = errors.New("these are not the words that this node shows: somebody is in between, or they are from another try")
)

// parseHello reads one message; which fields have to be there is up to its place in the exchange.
func parseHello(data []byte) (hello, error) {
	var h hello
	if len(data) > pairFrame || json.Unmarshal(data, &h) != nil || h.Version < 1 { // a later version's fields are left out
		return hello{}, ErrBadHello
	}
	if h.Name != "" && !ValidName(h.Name) || len(h.Commit) != 0 && len(h.Commit) != sha256.Size || len(h.Nonce) != 0 && len(h.Nonce) != nonceSize {
		return hello{}, ErrBadHello
	}
	return h, nil
}

func readHello(r io.Reader) (hello, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return hello{}, fmt.Errorf("read a message: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > pairFrame {
		return hello{}, ErrBadHello
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return hello{}, fmt.Errorf("read a message: %w", err)
	}
	return parseHello(data)
}

func writeHello(w io.Writer, h hello) error {
	h.Version = Version
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)); err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	return nil
}

// digest hashes texts so that no two lists of them give the same.
func digest(purpose string, parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range append([][]byte{[]byte("kvmha pair 1 " + purpose)}, parts...) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write(p)
	}
	return h.Sum(nil)
}

// commitment binds the side that connects to its name, key and nonce.
func commitment(h hello, nonce []byte) []byte {
	return digest("commitment", []byte(h.Name), h.Key.bytes(), nonce)
}

// authString gives the words of an exchange: of both names, keys and nonces, first those of the side that connected.
func authString(caller, callee hello, callerNonce []byte) (string, error) {
	all := digest("words", []byte(caller.Name), caller.Key.bytes(), callerNonce, []byte(callee.Name), callee.Key.bytes(), callee.Nonce)
	bits, err := hkdf.Key(sha256.New, all, nil, "kvmha pair words", pairWords)
	if err != nil {
		return "", fmt.Errorf("make the words: %w", err)
	}
	var out []string
	for _, b := range bits {
		out = append(out, words[b])
	}
	return strings.Join(out, "-"), nil
}

func nonce() []byte {
	b := make([]byte, nonceSize)
	_, _ = rand.Read(b) // it never fails (crypto/rand, since Go 1.24)
	return b
}

// Introduce connects to a node that waits to be paired.
func Introduce(ctx context.Context, id *Identity, name string, at netip.AddrPort) (Introduction, error) {
	ctx, cancel := context.WithTimeout(ctx, pairWait)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return Introduction{}, fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	in, err := introduce(c, id, name)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	in.From = at.Addr().Unmap()
	return in, err
}

func introduce(c io.ReadWriter, id *Identity, name string) (Introduction, error) {
	own, secret := hello{Name: name, Key: id.public}, nonce()
	own.Commit = commitment(own, secret)
	if err := writeHello(c, own); err != nil {
		return Introduction{}, err
	}
	other, err := readHello(c)
	switch {
	case err != nil:
		return Introduction{}, err
	case other.Name == "" || other.Key.IsZero() || len(other.Nonce) == 0:
		return Introduction{}, ErrBadHello
	case other.Name == name || other.Key == id.public:
		return Introduction{}, ErrSameNode
	}
	if err := writeHello(c, hello{Nonce: secret}); err != nil {
		return Introduction{}, err
	}
	if _, err := readHello(c); err != nil { // it has understood
		return Introduction{}, err
	}
	text, err := authString(own, other, secret)
	return Introduction{Name: other.Name, Key: other.Key, Words: text}, err
}

// Await waits at l for a node that wants to be paired, until ctx ends. Exchanges that break off cost one of a few tries, because each of them tells a
// stranger what the words would have been.
func Await(ctx context.Context, id *Identity, name string, l net.Listener) (Introduction, error) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for broken := 0; broken < pairAttempts; {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return Introduction{}, context.Cause(ctx)
		}
		if err != nil {
			return Introduction{}, fmt.Errorf("wait for the other node: %w", err)
		}
		in, told, err := await(ctx, c, id, name)
		in.From = addrOf(c.RemoteAddr())
		c.Close()
		switch {
		case err == nil, errors.Is(err, ErrBroken), errors.Is(err, ErrSameNode):
			return in, err
		case told:
			broken++
		}
	}
	return Introduction{}, ErrTooMany
}

// await answers one exchange; told: the other side knows this node's nonce.
func await(ctx context.Context, c net.Conn, id *Identity, name string) (in Introduction, told bool, err error) {
	if err := c.SetDeadline(now().Add(pairWait)); err != nil {
		return Introduction{}, false, fmt.Errorf("wait for the other node: %w", err)
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	caller, err := readHello(c)
	switch {
	case err != nil:
		return Introduction{}, false, err
	case caller.Name == "" || caller.Key.IsZero() || len(caller.Commit) == 0:
		return Introduction{}, false, ErrBadHello
	case caller.Name == name || caller.Key == id.public:
		return Introduction{}, false, ErrSameNode
	}
	own := hello{Name: name, Key: id.public, Nonce: nonce()}
	if err := writeHello(c, own); err != nil {
		return Introduction{}, true, err
	}
	reveal, err := readHello(c)
	if err != nil {
		return Introduction{}, true, err
	}
	if !bytes.Equal(commitment(caller, reveal.Nonce), caller.Commit) {
		return Introduction{}, true, ErrBroken
	}
	if err := writeHello(c, hello{}); err != nil {
		return Introduction{}, true, err
	}
	text, err := authString(caller, own, reveal.Nonce)
	return Introduction{Name: caller.Name, Key: caller.Key, Words: text}, true, err
}

// Same reports whether a person has typed the words of an exchange: blanks are as good as dashes, and case does not count.
func (in Introduction) Same(typed string) bool {
	if len(typed) > 200 || in.Words == "" {
		return false
	}
	typed = strings.Join(strings.FieldsFunc(strings.ToLower(typed), func(r rune) bool { return r == '-' || unicode.IsSpace(r) }), "-")
	return subtle.ConstantTimeCompare([]byte(typed), []byte(in.Words)) == 1
}
