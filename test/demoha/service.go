package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"kvmctl/ha/hatest"
)

// serve is the service that is watched: it greets whoever connects.
func serve(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, "220 web\r\n") // whoever has gone needs none
		c.Close()
	}
}

// relay is a real SMTP server on the node's loopback, which keeps the mails.
type relay struct {
	server *smtp.Server
	mails  chan *mail.Message
	done   chan error
}

func newRelay(n *hatest.Node, addr string) (*relay, error) {
	r := &relay{mails: make(chan *mail.Message, 100), done: make(chan error, 1)}
	var l net.Listener
	if err := n.Do(func() (err error) {
		var lc net.ListenConfig // of a literal address: the socket is made on this thread
		l, err = lc.Listen(context.Background(), "tcp4", addr)
		return err
	}); err != nil {
		return nil, fmt.Errorf("start a mail server: %w", err)
	}
	r.server = smtp.NewServer(r)
	r.server.Domain = "relay.example.org"
	go func() { r.done <- r.server.Serve(l) }()
	return r, nil
}

func (r *relay) close() error {
	err := r.server.Close()
	if e := <-r.done; !errors.Is(e, smtp.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// NewSession implements smtp.Backend.
func (r *relay) NewSession(*smtp.Conn) (smtp.Session, error) { return session{r}, nil }

type session struct{ r *relay }

func (session) Reset()                               {}
func (session) Logout() error                        { return nil }
func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (s session) Data(text io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(text, 1<<20))
	if err != nil {
		return err
	}
	m, err := mail.ReadMessage(strings.NewReader(string(b)))
	if err != nil {
		return err
	}
	select {
	case s.r.mails <- m:
		return nil
	default:
		return errors.New("too many mails")
	}
}

// next waits for a mail whose subject has a word in it, and shows it.
func (r *relay) next(ctx context.Context, word string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		select {
		case m := <-r.mails:
			subject := m.Header.Get("Subject")
			fmt.Printf("  mail to %s: %s\n", m.Header.Get("To"), subject)
			if strings.Contains(subject, word) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for a mail about %q: %w", word, context.Cause(ctx))
		}
	}
}
