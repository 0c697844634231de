package qmptest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"reflect"
	"regexp"
	"strings"
	"sync"
)

// Recorder passes a connection's bytes on and keeps its lines.
type Recorder struct {
	net.Conn
	mu      sync.Mutex
	partial []byte // what was read of a line
	lines   []string
}

// Read implements net.Conn.
func (r *Recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial = append(r.partial, p[:n]...)
	for {
		line, rest, whole := bytes.Cut(r.partial, []byte("\n"))
		if !whole {
			return n, err
		}
		r.lines = append(r.lines, "S: "+normal(string(line)))
		r.partial = rest
	}
}

// Write implements net.Conn. Each write is one line.
func (r *Recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.lines = append(r.lines, "C: "+normal(string(p)))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

// Transcript is what was said: a line each, `C: ` by the client and `S: ` by the server, without what differs from run to run and from build to build.
func (r *Recorder) Transcript() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n") + "\n"
}

var changing = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`"[0-9a-f]{8}-([0-9]+)"`), `"$1"`},
	{regexp.MustCompile(`"seconds": [0-9]+, "microseconds": [0-9]+|"microseconds": [0-9]+, "seconds": [0-9]+`), `"seconds": 1700000000, "microseconds": 250000`},
	{regexp.MustCompile(`"qemu": \{[^}]*\}, "package": "[^"]*"`), `"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"`},
}

func normal(line string) string {
	line = strings.TrimRight(line, "\r\n")
	for _, c := range changing {
		line = c.re.ReplaceAllString(line, c.with)
	}
	return line
}

// Play speaks the server's part of a transcript on conn, answers with the client's own ids, and ends with the transcript. A client that says something else is an error.
func Play(conn net.Conn, transcript string) error {
	ids := map[string]string{}
	br := bufio.NewReader(conn)
	for n, line := range strings.Split(strings.TrimSuffix(transcript, "\n"), "\n") {
		who, text, _ := strings.Cut(line, ": ")
		switch who {
		case "S":
			if _, err := io.WriteString(conn, withID(text, ids)+"\r\n"); err != nil {
				return fmt.Errorf("transcript line %d: %w", n+1, err)
			}
		case "C":
			got, err := br.ReadString('\n')
			if err != nil {
				return fmt.Errorf("transcript line %d: %w", n+1, err)
			}
			if err := sameCommand(text, got, ids); err != nil {
				return fmt.Errorf("transcript line %d: %w", n+1, err)
			}
		default:
			return fmt.Errorf("transcript line %d: neither C nor S", n+1)
		}
	}
	return nil
}

func withID(line string, ids map[string]string) string {
	for told, used := range ids {
		if quoted := `"id": "` + told + `"`; strings.Contains(line, quoted) {
			return strings.Replace(line, quoted, `"id": "`+used+`"`, 1)
		}
	}
	return line
}

func sameCommand(want, got string, ids map[string]string) error {
	var w, g map[string]any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		return err
	}
	told, _ := w["id"].(string)
	used, _ := g["id"].(string)
	ids[told] = used
	delete(w, "id")
	delete(g, "id")
	if !reflect.DeepEqual(w, g) {
		return fmt.Errorf("the client said %s, want %s", strings.TrimSpace(got), want)
	}
	return nil
}
