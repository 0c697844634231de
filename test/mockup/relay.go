package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/mail"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"
)

// relay is the site's mail relay: a real SMTP server that keeps the subjects.
type relay struct {
	mu       sync.Mutex
	subjects []string
}

// serve takes mails until ctx ends.
func (r *relay) serve(ctx context.Context, w *world) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", hostLAN+":25")
	if err != nil {
		return err
	}
	server := smtp.NewServer(r)
	server.Domain = "relay.iut.example"
	context.AfterFunc(ctx, func() { server.Close() })
	w.readers.Go(func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			say("the mail relay has ended: %v", err)
		}
	})
	return nil
}

// take gives the subjects of the mails that have come since it was last asked.
func (r *relay) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.subjects
	r.subjects = nil
	return all
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
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.subjects = append(s.r.subjects, m.Header.Get("Subject"))
	return nil
}
