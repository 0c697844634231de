package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// DefaultMaxLine bounds one line of a peer: query-qmp-schema is 207 KB on QEMU 7.2, an agent's file block 48 MB at most by its own choice.
const DefaultMaxLine = 16 << 20

// Greeting is what QEMU says first.
type Greeting struct {
	Major, Minor, Micro int
	Package             string   // the distribution's build, such as "Debian 1:7.2+dfsg-7+deb12u18"; printable
	Capabilities        []string // such as "oob"
}

// Version is the release in dotted form.
func (g Greeting) Version() string { return fmt.Sprintf("%d.%d.%d", g.Major, g.Minor, g.Micro) }

// message is one line of a peer: exactly one of its parts is set.
type message struct {
	greeting *Greeting
	event    *Event
	reply    *reply
}

// reply answers a command. An id that is no string is some other client's.
type reply struct {
	id    string
	value json.RawMessage // never nil when err is nil
	err   *Error          // Desc is as it came: not yet printable, secrets in it
}

// errLine marks what decode refuses; its text quotes nothing of the line.
type errLine string

func (e errLine) Error() string { return string(e) }

// decode reads one line of QMP or QGA, without its end of line.
func decode(line []byte) (message, error) {
	var env struct {
		QMP *struct {
			Version struct {
				QEMU struct {
					Major int `json:"major"`
					Minor int `json:"minor"`
					Micro int `json:"micro"`
				} `json:"qemu"`
				Package string `json:"package"`
			} `json:"version"`
			Capabilities []json.RawMessage `json:"capabilities"`
		} `json:"QMP"`
		Event     *string         `json:"event"`
		Data      json.RawMessage `json:"data"`
		Timestamp *timestamp      `json:"timestamp"`
		ID        json.RawMessage `json:"id"`
		Return    json.RawMessage `json:"return"`
		Error     *struct {
			Class string `json:"class"`
			Desc  string `json:"desc"`
		} `json:"error"`
	}
	if len(line) == 0 || line[0] != '{' {
		return message{}, errLine("a line that is no JSON object")
	}
	if err := json.Unmarshal(line, &env); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return message{}, errLine("a line of broken JSON")
		}
		return message{}, errLine("a field of the wrong JSON type")
	}
	kinds := 0
	for _, set := range []bool{env.QMP != nil, env.Event != nil, env.Return != nil, env.Error != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return message{}, errLine("a line that is not exactly one of greeting, event, return and error")
	case env.QMP != nil:
		g := &Greeting{Major: env.QMP.Version.QEMU.Major, Minor: env.QMP.Version.QEMU.Minor, Micro: env.QMP.Version.QEMU.Micro,
			Package: printable(env.QMP.Version.Package)}
		for _, raw := range env.QMP.Capabilities {
			// The specification allows objects here for capabilities to come; we know the plain names.
			var name string
			if json.Unmarshal(raw, &name) == nil {
				g.Capabilities = append(g.Capabilities, name)
			}
		}
		return message{greeting: g}, nil
	case env.Event != nil:
		e := &Event{Name: printable(*env.Event)}
		if e.Name == "" {
			return message{}, errLine("an event without a name")
		}
		if env.Timestamp != nil {
			e.Time = env.Timestamp.time()
		}
		if len(env.Data) > 0 && env.Data[0] == '{' {
			e.Data = env.Data
		}
		return message{event: e}, nil
	}
	r := &reply{value: env.Return}
	if len(env.ID) > 0 && env.ID[0] == '"' {
		// It parsed as part of the whole, so this cannot fail.
		_ = json.Unmarshal(env.ID, &r.id)
	}
	if env.Error != nil {
		r.err = &Error{Class: printable(env.Error.Class), Desc: env.Error.Desc}
	}
	return message{reply: r}, nil
}

// readLine returns a copy of the next line without its end of line, and how many bytes it took. At an error it returns what there was of the line.
func readLine(br *bufio.Reader, limit int) (line []byte, n int, err error) {
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, 0, errLine(fmt.Sprintf("a line longer than %d bytes", limit))
		}
		line = append(line, part...)
		if err == nil {
			return bytes.TrimRight(line, "\r\n"), len(line), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, len(line), err
		}
	}
}

// request is one command as sent.
type request struct {
	Execute   string          `json:"execute,omitempty"`
	OutOfBand string          `json:"exec-oob,omitempty"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	ID        string          `json:"id,omitempty"`
}

// encodeArgs turns a command's arguments, a value that marshals to a JSON object or nothing, into JSON.
func encodeArgs(args any) (json.RawMessage, error) {
	if args == nil {
		return nil, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(args); err != nil {
		// An encoder's error may quote the value.
		return nil, fmt.Errorf("arguments of type %T cannot be written as JSON", args)
	}
	raw := bytes.TrimSpace(buf.Bytes())
	if bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	if raw[0] != '{' {
		return nil, fmt.Errorf("arguments of type %T are not a JSON object", args)
	}
	return raw, nil
}

// encode writes a command as one line with its end.
func encode(r request) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("the arguments are no JSON")
	}
	if r := refusedRune(buf.String()); r != 0 {
		return nil, fmt.Errorf("the arguments hold U+%04X, which QEMU refuses", r)
	}
	return buf.Bytes(), nil
}

// refusedRune finds a Unicode noncharacter: QEMU's JSON parser (util/unicode.c, mod_utf8_codepoint) refuses the whole command for one, and
// answers without the id.
func refusedRune(s string) rune {
	i := strings.IndexFunc(s, func(r rune) bool { return r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE })
	if i < 0 {
		return 0
	}
	r, _ := utf8.DecodeRuneInString(s[i:])
	return r
}
