package kvmha

import (
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"strconv"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha"
)

// voices fills where alerts go.
func (l *loader) voices(spec *ha.Spec, raw *rawFile) {
	if l.has("mail") {
		l.mail(&spec.Mail, &raw.Mail)
	}
	if l.has("webhook") {
		l.webhook(&spec.Webhook, &raw.Webhook)
	}
	if l.has("command") {
		spec.Command = ha.Command{Argv: raw.Command.Run, Timeout: ha.DefaultVoiceTimeout}
		strict.SetTime(&spec.Command.Timeout, raw.Command.Timeout)
		l.need("command", "run", raw.Command.Run != nil, "[command] without run", `run = ["/usr/local/lib/kvmha/alert"]`)
		l.program("command.run", raw.Command.Run)
	}
}

// has reports whether the file has a table of this name.
func (l *loader) has(table string) bool {
	_, ok := l.Tree[table].(map[string]any)
	return ok
}

func (l *loader) mail(m *ha.Mail, raw *rawMail) {
	*m = ha.Mail{TLS: ha.MailStartTLS, To: raw.To, Timeout: ha.DefaultVoiceTimeout}
	strict.SetAs(&m.TLS, raw.TLS)
	strict.Set(&m.User, raw.User)
	strict.Set(&m.From, raw.From)
	strict.SetTime(&m.Timeout, raw.Timeout)
	if l.need("mail", "relay", raw.Relay != nil, "[mail] without a relay", `relay = "mail.example.org:25"`) {
		relay, why := withPort(*raw.Relay, m.TLS)
		if m.Relay = relay; why != "" {
			l.Value("mail.relay", fmt.Sprintf("mail.relay wants a host and a port such as \"mail.example.org:25\", got %q: %s", *raw.Relay, why), "")
		}
	}
	if l.need("mail", "from", raw.From != nil, "[mail] without from", `from = "kvmha@example.org"`) {
		l.mailAddress("mail.from", m.From)
	}
	if l.need("mail", "to", raw.To != nil, "[mail] without to", `to = ["admin@example.org"]`) && len(raw.To) == 0 {
		l.Value("mail.to", "mail.to is empty: nobody would get the mails", "")
	}
	for i, to := range raw.To {
		l.mailAddress(strict.Element("mail.to", i), to)
	}
	var at string
	m.Password, at = l.secret("mail", "password", raw.Password, raw.PasswordFile)
	switch {
	case at != "" && raw.User == nil && !l.Bad["mail.user"]:
		l.Key(at, strict.Label(at)+" without a user", `user = "kvmha"`)
	case at == "" && raw.User != nil && !l.Bad["mail.password"] && !l.Bad["mail.password_file"]:
		l.Key("mail.user", "mail.user without a password", `password_file = "/etc/kvmha/mail.password"`)
	case at != "" && (m.TLS == ha.MailPlain || m.TLS == ha.MailOpportunistic):
		l.Value("mail.tls", fmt.Sprintf("mail.tls is %q: the password could cross the network in the clear", m.TLS), `tls = "starttls"`)
	}
}

// withPort completes host[:port] with the port that goes with the protection.
func withPort(relay string, tls ha.MailTLS) (full, why string) {
	host, port, err := net.SplitHostPort(relay)
	if err != nil {
		host, port = strings.Trim(relay, "[]"), "25"
		if tls == ha.MailImplicit {
			port = "465"
		}
		if strings.Count(host, ":") == 1 {
			return "", "the port is missing"
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "a port is a number from 1 to 65535"
	}
	if host == "" || strings.ContainsAny(host, " \t/@") {
		return "", "that is no host"
	}
	return net.JoinHostPort(host, port), ""
}

func (l *loader) mailAddress(path, address string) {
	if address == "" { // told already, or could not be read
		return
	}
	a, err := mail.ParseAddress(address)
	if err != nil || a.Address != address {
		l.Value(path, fmt.Sprintf("%s wants an address such as \"admin@example.org\", got %q", strict.Label(path), address), "")
	}
}

func (l *loader) webhook(w *ha.Webhook, raw *rawWebhook) {
	*w = ha.Webhook{Timeout: ha.DefaultVoiceTimeout}
	strict.SetTime(&w.Timeout, raw.Timeout)
	w.Token, _ = l.secret("webhook", "token", raw.Token, raw.TokenFile)
	if !l.need("webhook", "url", raw.URL != nil, "[webhook] without an url", `url = "https://alerts.example.org/kvmha"`) {
		return
	}
	w.URL = *raw.URL
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		l.Value("webhook.url", "webhook.url wants an http or https URL", `url = "https://alerts.example.org/kvmha"`)
	case u.User != nil:
		l.Value("webhook.url", "webhook.url holds a password: it would stand in every log", "token_file, sent as a bearer token")
	case u.Scheme == "http" && !w.Token.IsZero():
		l.Value("webhook.url", "webhook.url is not https: the token would cross the network in the clear", "url = "+strict.Quote("https"+strings.TrimPrefix(w.URL, "http")))
	}
}
