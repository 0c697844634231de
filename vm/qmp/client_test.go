package qmp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/vm/qmp"
	"kvmctl/vm/qmp/qmptest"
)

// handshake is how many bytes the model sends before the first answer to a command.
const handshake = len(qmptest.Greeting+"\r\n") + len(`{"return": {}, "id": "01234567-1"}`+"\r\n")

// inMemory runs f in virtual time with a negotiated client of a model of QEMU.
func inMemory(t *testing.T, f func(t *testing.T, p *qmptest.Peer, c *qmp.Client), opts ...qmp.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := qmptest.New()
		defer p.Close()
		c, err := qmp.NewClient(t.Context(), p.Pipe(), opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		f(t, p, c)
	})
}

func wantStatus(t *testing.T, c *qmp.Client, want string) {
	t.Helper()
	if s, err := status(t, context.Background(), c); err != nil || s != want {
		t.Fatalf("status = %q, %v; want %q", s, err, want)
	}
}

func wantError(t *testing.T, err error, text string, is ...error) {
	t.Helper()
	if err == nil || err.Error() != text {
		t.Fatalf("error %v\nwant  %s", err, text)
	}
	for _, target := range is {
		if !errors.Is(err, target) {
			t.Errorf("error %q is not %v", err, target)
		}
	}
}

func TestClientNegotiatesOutOfBandAndRuns(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		wantStatus(t, c, "prelaunch")
		want := []string{`qmp_capabilities {"enable":["oob"]}`, "query-status"}
		if d := cmp.Diff(want, p.Commands()); d != "" {
			t.Error(d)
		}
		g := qmp.Greeting{Major: 7, Minor: 2, Micro: 22, Package: "Debian 1:7.2+dfsg-7+deb12u18+b3", Capabilities: []string{"oob"}}
		if d := cmp.Diff(g, c.Greeting()); d != "" {
			t.Error(d)
		}
		if v := c.Greeting().Version(); v != "7.2.22" {
			t.Errorf("version %q", v)
		}
	})
}

func TestClientAsksForNothingThatIsNotOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := qmptest.New()
		defer p.Close()
		p.Greeting = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 9}, "package": ""}, "capabilities": [{"future": 1}]}}`
		c, err := qmp.NewClient(t.Context(), p.Pipe())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if d := cmp.Diff([]string{"qmp_capabilities"}, p.Commands()); d != "" {
			t.Error(d)
		}
	})
}

func TestNoGreetingIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := qmptest.New()
		p.Greeting = ""
		defer p.Close()
		_, err := qmp.NewClient(t.Context(), p.Pipe())
		wantError(t, err, "no greeting: another client holds this monitor, or QEMU is silent (waited 1s): context deadline exceeded",
			qmp.ErrBusy, context.DeadlineExceeded)
	})
}

func TestSecondClientIsBusyUntilTheFirstLeaves(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		_, err := qmp.NewClient(ctx, p.Pipe())
		wantError(t, err, "no greeting: another client holds this monitor, or QEMU is silent (waited 250ms): context deadline exceeded", qmp.ErrBusy)
		c.Close()
		second, err := qmp.NewClient(t.Context(), p.Pipe())
		if err != nil {
			t.Fatal(err)
		}
		second.Close()
	})
}

func TestBadGreetings(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault qmptest.Fault
		text  string
		is    error
	}{
		{"half of it, then the end", qmptest.Truncate(), "read the QMP greeting: QMP connection closed: unexpected EOF", io.ErrUnexpectedEOF},
		{"the end at once", qmptest.Reset(), "read the QMP greeting: QMP connection closed: EOF", io.EOF},
		{"another protocol", qmptest.Garbage("SSH-2.0-OpenSSH_9.2\r\n"), "read the QMP greeting: QMP connection closed: protocol error after 0 bytes: a line that is no JSON object", qmp.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := qmptest.New()
				defer p.Close()
				p.On("", tt.fault)
				_, err := qmp.NewClient(t.Context(), p.Pipe())
				wantError(t, err, tt.text, tt.is, qmp.ErrClosed)
			})
		})
	}
	t.Run("a part of it, then silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			go io.WriteString(theirs, `{"QMP": {`)
			defer theirs.Close()
			_, err := qmp.NewClient(t.Context(), ours)
			wantError(t, err, "read the QMP greeting: only 9 bytes of it came within 1s: context deadline exceeded", context.DeadlineExceeded)
			if errors.Is(err, qmp.ErrBusy) {
				t.Error("a peer that spoke is taken for a busy one")
			}
		})
	})
	t.Run("cancelled while waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			_, err := qmp.NewClient(ctx, ours)
			wantError(t, err, "read the QMP greeting: context canceled", context.Canceled)
		})
	})
	t.Run("no answer to the negotiation", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := qmptest.New()
			defer p.Close()
			p.On("qmp_capabilities", qmptest.Stall())
			_, err := qmp.NewClient(t.Context(), p.Pipe())
			wantError(t, err, `run "qmp_capabilities": no answer after 1s: context deadline exceeded`, context.DeadlineExceeded)
		})
	})
	t.Run("negotiation refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := qmptest.New()
			defer p.Close()
			p.On("qmp_capabilities", qmptest.Refuse("GenericError", "no"))
			_, err := qmp.NewClient(t.Context(), p.Pipe())
			wantError(t, err, `run "qmp_capabilities": no`)
		})
	})
}

func TestSilentCommandTimesOutByTheTableAndTheConnectionStaysUsable(t *testing.T) {
	for cmd, wait := range map[string]string{"query-status": "500ms", "block-job-cancel": "5s", "screendump": "10s", "device_add": "30s"} {
		t.Run(cmd, func(t *testing.T) {
			inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
				p.On(cmd, qmptest.Late())
				start := time.Now()
				err := c.Execute(t.Context(), cmd, nil, nil)
				wantError(t, err, fmt.Sprintf("run %q: no answer after %s: context deadline exceeded", cmd, wait), context.DeadlineExceeded)
				if got := time.Since(start).String(); got != wait {
					t.Errorf("waited %s, want %s", got, wait)
				}
				p.Release()
				wantStatus(t, c, "prelaunch")
				if c.Strays() != 1 {
					t.Errorf("%d stray answers, want the late one", c.Strays())
				}
			})
		})
	}
}

func TestContextDeadlineBeatsTheTable(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		p.On("query-status", qmptest.Stall())
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		wantError(t, c.Execute(ctx, "query-status", nil, nil), `run "query-status": no answer after 7s: context deadline exceeded`)
	})
}

func TestCancelledCommand(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		p.On("query-status", qmptest.Stall())
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		wantError(t, c.Execute(ctx, "query-status", nil, nil), `run "query-status": context canceled`, context.Canceled)
		wantStatus(t, c, "prelaunch")
		sent := len(p.Commands())
		wantError(t, c.Execute(ctx, "stop", nil, nil), `run "stop": context canceled`)
		if len(p.Commands()) != sent {
			t.Error("a command whose context had ended was sent")
		}
	})
}

func TestLongAnswers(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		p.On("query-status", qmptest.Big(1<<20))
		var s string
		if err := c.Execute(t.Context(), "query-status", nil, &s); err != nil || len(s) != 1<<20 {
			t.Fatalf("%d bytes, %v", len(s), err)
		}
		wantStatus(t, c, "prelaunch")
	})
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		p.On("query-status", qmptest.Big(4096))
		err := c.Execute(t.Context(), "query-status", nil, nil)
		wantError(t, err, fmt.Sprintf(`run "query-status": QMP connection closed: protocol error after %d bytes: a line longer than 4096 bytes`, handshake), qmp.ErrClosed)
		var bad *qmp.ProtocolError
		if !errors.As(err, &bad) {
			t.Error("no ProtocolError")
		}
	}, qmp.MaxLine(4096))
}

func TestHostileBytesEndTheConnectionAndAreNotQuoted(t *testing.T) {
	for _, tt := range []struct{ name, bytes, reason string }{
		{"text", "hunter2\n", "a line that is no JSON object"},
		{"an empty line", "\r\n", "a line that is no JSON object"},
		{"an array", "[\"hunter2\"]\n", "a line that is no JSON object"},
		{"broken JSON", "{\"return\": hunter2}\n", "a line of broken JSON"},
		{"two objects", "{\"return\": {}}{\"hunter2\": 1}\n", "a line of broken JSON"},
		{"nothing known", "{\"hunter2\": 1}\n", "a line that is not exactly one of greeting, event, return and error"},
		{"two at once", "{\"return\": {}, \"event\": \"hunter2\"}\n", "a line that is not exactly one of greeting, event, return and error"},
		{"an event that is a number", "{\"event\": 12345}\n", "a field of the wrong JSON type"},
		{"an event without a name", "{\"event\": \"\"}\n", "an event without a name"},
		{"a second greeting", qmptest.Greeting + "\n", "a second greeting"},
		{"control bytes", "\x00\x1b[2Jhunter2\n", "a line that is no JSON object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
				p.On("query-status", qmptest.Garbage(tt.bytes))
				err := c.Execute(t.Context(), "query-status", nil, nil)
				wantError(t, err, fmt.Sprintf(`run "query-status": QMP connection closed: protocol error after %d bytes: `, handshake)+tt.reason, qmp.ErrClosed)
				<-c.Done()
				wantError(t, c.Execute(t.Context(), "stop", nil, nil), fmt.Sprintf(`run "stop": QMP connection closed: protocol error after %d bytes: `, handshake)+tt.reason, qmp.ErrClosed)
				if _, open := <-c.Events(); open {
					t.Error("the events are not closed")
				}
			})
		})
	}
}

func TestAnswersOfOthersAreSkipped(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		p.On("query-status", qmptest.WrongID(), qmptest.NoID(), qmptest.Twice(), qmptest.Garbage("{\"return\": 1, \"id\": 7}\n"))
		for range 5 {
			wantStatus(t, c, "prelaunch")
		}
		if c.Strays() != 4 {
			t.Errorf("%d strays, want 4", c.Strays())
		}
	})
}

func TestAnswersToAnEarlierClientBeforeOurHandshake(t *testing.T) {
	// A screendump's answer goes to whoever is connected when it is done.
	synctest.Test(t, func(t *testing.T) {
		p := qmptest.New()
		defer p.Close()
		p.On("", qmptest.Garbage("{\"return\": {}, \"id\": \"01234567-1\"}\r\n"))
		p.On("qmp_capabilities", qmptest.Garbage("{\"id\": \"01234567-2\", \"error\": {\"class\": \"GenericError\", \"desc\": \"not yours\"}}\r\n"))
		c, err := qmp.NewClient(t.Context(), p.Pipe())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wantStatus(t, c, "prelaunch")
		if c.Strays() != 2 {
			t.Errorf("%d strays, want 2", c.Strays())
		}
	})
}

func TestEndOfThePeer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault qmptest.Fault
		cause error
	}{
		{"in the middle of an answer", qmptest.Truncate(), io.ErrUnexpectedEOF},
		{"instead of an answer", qmptest.Reset(), io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
				p.On("query-status", tt.fault)
				err := c.Execute(t.Context(), "query-status", nil, nil)
				wantError(t, err, `run "query-status": QMP connection closed: `+tt.cause.Error(), qmp.ErrClosed, tt.cause)
				<-c.Done()
				wantError(t, c.Err(), "QMP connection closed: "+tt.cause.Error())
			})
		})
	}
}

func TestQuitIsAnsweredAndItsEventsCanBeReadAfterTheEnd(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		e := <-c.Events()
		want := qmp.Event{Name: "SHUTDOWN", Time: time.Unix(1700000000, 250000000), Data: []byte(`{"guest": false, "reason": "host-qmp-quit"}`)}
		if d := cmp.Diff(want, e); d != "" {
			t.Error(d)
		}
	})
}

func TestAnswerThatComesWithTheEndCounts(t *testing.T) {
	// Both are there when the caller looks, and which it sees first is chance.
	for range 50 {
		inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
			if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestUnreadEventsNeverBlockAndTheNewestAreKept(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		p.On("query-status", qmptest.Flood(1000))
		wantStatus(t, c, "prelaunch")
		if c.Dropped() != 1000-qmp.EventQueue {
			t.Errorf("dropped %d, want %d", c.Dropped(), 1000-qmp.EventQueue)
		}
		for n := 1000 - qmp.EventQueue; n < 1000; n++ {
			var data struct{ N int }
			if err := (<-c.Events()).Decode(&data); err != nil || data.N != n {
				t.Fatalf("event %d, %v; want %d", data.N, err, n)
			}
		}
	})
}

func TestCloseEndsCommandsUnderWay(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		p.On("query-status", qmptest.Stall(), qmptest.Stall())
		errs := make(chan error)
		for range 2 {
			go func() { errs <- c.Execute(context.Background(), "query-status", nil, nil) }()
		}
		synctest.Wait()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { c.Close() })
		}
		for range 2 {
			wantError(t, <-errs, `run "query-status": QMP connection closed`, qmp.ErrClosed)
		}
		wg.Wait()
		if c.Err() != qmp.ErrClosed {
			t.Errorf("Err() = %v", c.Err())
		}
		wantError(t, c.Execute(t.Context(), "stop", nil, nil), `run "stop": QMP connection closed`, qmp.ErrClosed)
	})
}

func TestManyCommandsAtOnceGetTheirOwnAnswers(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				cmd := fmt.Sprintf("x-command-%d", i)
				err := c.Execute(context.Background(), cmd, nil, nil)
				if want := fmt.Sprintf("run %q: CommandNotFound: The command %s has not been found", cmd, cmd); err == nil || err.Error() != want {
					t.Errorf("%v, want %s", err, want)
				}
			})
		}
		wg.Wait()
	})
}

// deaf is a QEMU that negotiates and then reads only what the test lets it read.
func deaf(t *testing.T) (*qmp.Client, net.Conn, *bufio.Reader) {
	ours, theirs := net.Pipe()
	br := bufio.NewReaderSize(theirs, 16)
	go func() {
		io.WriteString(theirs, qmptest.Greeting+"\n")
		line, _ := br.ReadString('\n')
		io.WriteString(theirs, `{"return": {}, "id": "`+idOf(line)+"\"}\n")
	}()
	c, err := qmp.NewClient(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	return c, theirs, br
}

func idOf(line string) string {
	_, id, _ := strings.Cut(line, `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	return id
}

func TestCommandThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs, br := deaf(t)
		defer theirs.Close()
		defer c.Close()
		wantError(t, c.Execute(t.Context(), "query-status", nil, nil),
			`run "query-status": QEMU takes no command after 500ms: context deadline exceeded`, context.DeadlineExceeded)
		// It listens again: nothing of that command was written, so the next one is whole.
		go func() {
			line, _ := br.ReadString('\n')
			io.WriteString(theirs, `{"return": "`+fmt.Sprint(strings.Contains(line, `"stop"`))+`", "id": "`+idOf(line)+"\"}\n")
		}()
		var answer string
		if err := c.Execute(t.Context(), "stop", nil, &answer); err != nil || answer != "true" {
			t.Fatalf("%q, %v", answer, err)
		}
	})
}

func TestHalfACommandEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs, _ := deaf(t)
		defer theirs.Close()
		defer c.Close()
		go theirs.Read(make([]byte, 5))
		err := c.Execute(t.Context(), "query-status", nil, nil)
		wantError(t, err, `run "query-status": QMP connection closed: 5 of 45 bytes of a command written: context deadline exceeded`,
			qmp.ErrClosed, context.DeadlineExceeded)
	})
}

// plain hides the deadlines of a connection.
type plain struct{ io.ReadWriteCloser }

func TestConnectionWithoutDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := qmptest.New()
		defer p.Close()
		c, err := qmp.NewClient(t.Context(), plain{p.Pipe()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p.On("query-status", qmptest.Stall())
		wantError(t, c.Execute(t.Context(), "query-status", nil, nil), `run "query-status": no answer after 500ms: context deadline exceeded`)
		wantStatus(t, c, "prelaunch")
	})
}

func TestArgumentsThatCannotBeSent(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		sent := len(p.Commands())
		for _, tt := range []struct {
			args any
			text string
		}{
			{[]string{"hunter2"}, "arguments of type []string are not a JSON object"},
			{"hunter2", "arguments of type string are not a JSON object"},
			{make(chan int), "arguments of type chan int cannot be written as JSON"},
			{map[string]string{"a": "hunter2\uFFFF"}, "the arguments hold U+FFFF, which QEMU refuses"},
		} {
			wantError(t, c.Execute(t.Context(), "stop", tt.args, nil), `run "stop": `+tt.text)
		}
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, c.ExecuteWithFile(t.Context(), "add-fd", nil, nil, f), `run "add-fd": send file "/dev/null": the connection is no unix socket`)
		f.Close()
		if len(p.Commands()) != sent {
			t.Errorf("sent %q", p.Commands()[sent:])
		}
		wantStatus(t, c, "prelaunch")
	})
}

func TestSecretsAreBlankedInErrors(t *testing.T) {
	for _, tt := range []struct {
		name, cmd string
		args      any
		desc      string
		want      string
	}{
		{"password", "set_password", map[string]string{"protocol": "vnc", "password": "hunter2"}, "bad password 'hunter2' for vnc", `run "set_password": bad password '***' for vnc`},
		{"secret object", "object-add", map[string]any{"qom-type": "secret", "id": "s0", "data": "hunter2!"}, "Base64 data 'hunter2!' is not valid", `run "object-add": Base64 data '***' is not valid`},
		{"nested", "blockdev-add", map[string]any{"node": map[string]any{"password": []any{"hunter2", "hunter2long"}}}, "no hunter2long, hunter2", `run "blockdev-add": no ***, ***`},
		{"human monitor", "human-monitor-command", map[string]string{"command-line": "set_password vnc hunter2"}, "hunter2?", `run "human-monitor-command": ***?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
				p.On(tt.cmd, qmptest.Refuse("GenericError", tt.desc))
				wantError(t, c.Execute(t.Context(), tt.cmd, tt.args, nil), tt.want)
			})
		})
	}
}

func TestDescriptionsAreSafeForATerminal(t *testing.T) {
	inMemory(t, func(t *testing.T, p *qmptest.Peer, c *qmp.Client) {
		p.On("stop", qmptest.Refuse("Weird\x1b", "a\x1b[2Jb\nc\x00"+strings.Repeat("x", 5000)))
		err := c.Execute(t.Context(), "stop", nil, nil)
		want := "run \"stop\": Weird\uFFFD: a\uFFFD[2Jb c\uFFFD" + strings.Repeat("x", 1024-9) + "…"
		wantError(t, err, want)
	})
}

func TestFilesTakeTurnsUntilEachIsAnswered(t *testing.T) {
	p := qmptest.New()
	defer p.Close()
	path := filepath.Join(t.TempDir(), "s")
	if err := p.Listen(path); err != nil {
		t.Fatal(err)
	}
	c := dial(t, path)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p.On("add-fd", qmptest.Late())
	err = c.ExecuteWithFile(within(t, 20*time.Millisecond), "add-fd", nil, nil, f)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	sent := len(p.Commands())
	// QEMU may not have taken the first file yet, and a second would replace it.
	err = c.ExecuteWithFile(within(t, 20*time.Millisecond), "getfd", nil, nil, f)
	if err == nil || !strings.HasPrefix(err.Error(), `run "getfd": an earlier file is still unanswered after `) {
		t.Fatalf("error %v", err)
	}
	wantStatus(t, c, "prelaunch")
	if got := p.Commands()[sent:]; len(got) != 1 {
		t.Errorf("sent %q", got)
	}
	p.Release()
	const none = `run "add-fd": No file descriptor supplied via SCM_RIGHTS`
	for range 3 {
		wantError(t, c.ExecuteWithFile(within(t, time.Minute), "add-fd", nil, nil, f), none)
	}
	f.Close()
	err = c.ExecuteWithFile(within(t, time.Minute), "add-fd", nil, nil, f)
	wantError(t, err, `run "add-fd": send file "/dev/null": use of closed file`)
	wantStatus(t, c, "prelaunch")
}

func TestDialOfNothing(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, strings.Repeat("x", 60), strings.Repeat("y", 60)), "/nonexistent/" + strings.Repeat("z", 100)} {
		_, err := qmp.Dial(t.Context(), path)
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), strconv.Quote(path)) && !strings.Contains(err.Error(), strconv.Quote(filepath.Dir(path))) {
			t.Errorf("error %v", err)
		}
	}
	_, err := qmp.Dial(t.Context(), dir+"/"+strings.Repeat("n", 200))
	if !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = qmp.Dial(ctx, filepath.Join(dir, "none"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
