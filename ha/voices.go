package ha

import "time"

// Mail is the relay that alerts go through. Without a Relay there is none.
type Mail struct {
	Relay    string // host:port
	TLS      MailTLS
	User     string // empty: no authentication
	Password Secret
	From     string
	To       []string
	Timeout  time.Duration // of one try
}

// MailTLS is how the connection to the relay is protected.
type MailTLS string

// The ways, as the file writes them.
const (
	MailStartTLS      MailTLS = "starttls"      // refused without it
	MailImplicit      MailTLS = "implicit"      // from the first byte, port 465
	MailOpportunistic MailTLS = "opportunistic" // STARTTLS where it is offered; never with a password
	MailPlain         MailTLS = "none"
)

// Language is that of mails.
type Language string

// The languages.
const (
	English Language = "en"
	French  Language = "fr"
)

// Webhook is an URL to which each alert is posted as JSON. Without an URL there is none.
type Webhook struct {
	URL     string
	Token   Secret // sent as "Authorization: Bearer …"; empty: not
	Timeout time.Duration
}

// Command is a program that is given each alert as JSON on its standard input. Without an Argv there is none.
type Command struct {
	Argv    []string
	Timeout time.Duration // then its process group is killed
}

// LogTo is where the audit lines go.
type LogTo string

// The places, as the file writes them.
const (
	LogJournal LogTo = "journal" // standard error where no journal is
	LogSyslog  LogTo = "syslog"
	LogFile    LogTo = "file"
)

// Log is the audit log.
type Log struct {
	To   LogTo
	File string // absolute; only of LogFile
}
