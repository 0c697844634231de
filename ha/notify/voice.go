package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"

	"kvmctl/ha"
	"kvmctl/internal/child"
)

// The voices' names, which are also those of their spools.
const (
	voiceMail    = "mail"
	voiceWebhook = "webhook"
	voiceCommand = "command"
)

// voice is one way to people. send has its own deadline.
type voice struct {
	name string
	to   string // whom it reaches, for messages
	send func(context.Context, Message) error
}

// voices gives those that are configured.
func voices(s ha.Spec) []voice {
	var all []voice
	if s.Mail.Relay != "" {
		all = append(all, voice{voiceMail, s.Mail.Relay, func(ctx context.Context, m Message) error { return sendMail(ctx, s.Mail, m) }})
	}
	if s.Webhook.URL != "" {
		all = append(all, voice{voiceWebhook, origin(s.Webhook.URL), func(ctx context.Context, m Message) error { return sendWebhook(ctx, s.Webhook, m) }})
	}
	if len(s.Command.Argv) > 0 {
		all = append(all, voice{voiceCommand, s.Command.Argv[0], func(ctx context.Context, m Message) error { return runCommand(ctx, s.Command, m) }})
	}
	return all
}

// origin is what may be said of a webhook's URL: many services keep their secret in its path.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the webhook"
	}
	return u.Scheme + "://" + u.Host
}

// sendMail gives the relay one mail (RFC 5321). Auto-Submitted (RFC 3834) keeps vacation programs silent.
func sendMail(ctx context.Context, c ha.Mail, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	text, err := Text(m)
	if err != nil {
		return err
	}
	msg := mail.NewMsg()
	if err := msg.From(c.From); err != nil {
		return fmt.Errorf("use %q as the sender: %w", c.From, err)
	}
	if err := msg.To(c.To...); err != nil {
		return fmt.Errorf("use %q as receivers: %w", c.To, err)
	}
	msg.Subject("[kvmha " + m.Node + "] " + m.Headline)
	msg.SetDateWithValue(m.Time)
	msg.SetMessageIDWithValue(m.ID + "@" + m.Node + ".kvmha")
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Kvmha", m.Kind+" "+m.Subject)
	msg.SetBodyString(mail.TypeTextPlain, text)
	client, err := mailClient(c)
	if err != nil {
		return err
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil && !msg.IsDelivered() {
		return fmt.Errorf("mail by %s: %w", c.Relay, err)
	}
	return nil
}

func mailClient(c ha.Mail) (*mail.Client, error) {
	host, port, err := net.SplitHostPort(c.Relay)
	if err != nil {
		return nil, fmt.Errorf("use %q as the relay: %w", c.Relay, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("use %q as the relay: %w", c.Relay, err)
	}
	options := []mail.Option{mail.WithPort(number), mail.WithTimeout(c.Timeout), mail.WithTLSConfig(tlsFor(host))}
	switch c.TLS {
	case ha.MailImplicit:
		options = append(options, mail.WithSSL())
	case ha.MailOpportunistic:
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic))
	case ha.MailPlain:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if c.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(c.User), mail.WithPassword(c.Password.Reveal()))
	}
	client, err := mail.NewClient(host, options...)
	if err != nil {
		return nil, fmt.Errorf("use the relay %s: %w", c.Relay, err)
	}
	return client, nil
}

// errRefused is an answer other than 2xx.
var errRefused = errors.New("not accepted")

// sendWebhook posts the message as JSON. A redirect is not followed: it would carry the token elsewhere.
func sendWebhook(ctx context.Context, c ha.Webhook, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("post to the webhook: its URL is none") // and may hold a secret
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", m.ID)
	if !c.Token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsFor(""), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if broken := new(url.Error); errors.As(err, &broken) {
		err = broken.Err // without the URL
	}
	if err != nil {
		return fmt.Errorf("post to the webhook: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("post to the webhook: %w: %s: %s", errRefused, resp.Status, child.Printable(string(said)))
	}
	return nil
}

// runCommand gives the message as JSON to a program's standard input.
func runCommand(ctx context.Context, c ha.Command, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	in, err := input(append(body, '\n'))
	if err != nil {
		return fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	defer in.Close()
	r, err := child.Run(ctx, child.Command{Argv: c.Argv, Stdin: in, Grace: time.Second,
		Env: []string{"KVMHA_NODE=" + m.Node, "KVMHA_GROUP=" + m.Group, "KVMHA_KIND=" + m.Kind, "KVMHA_SUBJECT=" + m.Subject}})
	if err != nil {
		return err
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	return nil
}

// input gives a file without a name that holds text: a pipe would hold less, and block whoever fills it.
func input(text []byte) (*os.File, error) {
	f, err := os.CreateTemp("", "kvmha-message-")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		_, err = f.WriteAt(text, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
