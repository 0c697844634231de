package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/cloudsoda/go-smb2"
)

// As whom a file server is asked.
const (
	SMBUser      = "user"
	SMBGuest     = "guest"     // the server takes whom it does not know for one
	SMBAnonymous = "anonymous" // no name at all
)

// SMB asks a file server over SMB 2 or 3: it negotiates, opens a session, finds a share in the server's list and reads a file of it.
type SMB struct {
	Address  string   // "10.2.0.2:445": a literal address
	Session  string   // SMBUser, SMBGuest or SMBAnonymous
	User     string   // of SMBUser; DOMAIN\name, or name
	Password Password `json:"-"` // of SMBUser

	Share  string // has to be in the server's list, and the session has to get into it; empty: the session is enough
	Hidden bool   // it is in no list (browseable = no)
	File   string // of the share; its first bytes are read. Empty: none

	RefuseAnonymous bool // nobody without a name may list the shares, or get into Share
}

// Kind implements Spec.
func (SMB) Kind() string { return "smb" }

// Validate implements Spec.
func (s SMB) Validate() error {
	switch {
	case validAddrPort(s.Address) != nil:
		return validAddrPort(s.Address)
	case s.Session != SMBUser && s.Session != SMBGuest && s.Session != SMBAnonymous:
		return fmt.Errorf("session is %q, not user, guest or anonymous", s.Session)
	case s.Session == SMBUser && (s.User == "" || reveal(s.Password) == ""):
		return errors.New("a session of a user needs user and password")
	case s.Session != SMBUser && (s.User != "" || reveal(s.Password) != ""):
		return fmt.Errorf("a session of type %s has neither user nor password", s.Session)
	case strings.ContainsAny(s.Share, `/\`):
		return fmt.Errorf("share %q is not a share's name alone", s.Share)
	case s.Share == "" && (s.File != "" || s.Hidden):
		return errors.New("file and hidden need a share")
	case strings.HasPrefix(s.File, "/") || strings.HasPrefix(s.File, `\`):
		return fmt.Errorf("file %q does not begin within the share", s.File)
	case s.RefuseAnonymous && s.Session == SMBAnonymous:
		return errors.New("anonymous is refused, and is who asks")
	}
	return nil
}

// Probe implements Spec.
func (s SMB) Probe(Env) (Probe, error) {
	at, err := netip.ParseAddrPort(s.Address)
	if err != nil {
		return nil, err
	}
	return &smbProbe{spec: s, at: at}, nil
}

type smbProbe struct {
	spec SMB
	at   netip.AddrPort
}

func (*smbProbe) Close() {}

// Bounds of an SMB check, in bytes.
const (
	maxSMBAnswer = 4 << 20
	maxSMBFrame  = 1 << 20 // the library makes room for what a frame announces, 16 MiB by the protocol
	smbSample    = 4 << 10 // of a file
)

func (p *smbProbe) Ask(ctx context.Context) error {
	initiator := &smb2.NTLMInitiator{}
	switch p.spec.Session {
	case SMBGuest:
		initiator.User = "guest"
	case SMBUser:
		initiator.User, initiator.Password = p.spec.User, reveal(p.spec.Password)
		if domain, name, ok := strings.Cut(p.spec.User, `\`); ok {
			initiator.Domain, initiator.User = domain, name
		}
	}
	if err := p.session(ctx, initiator, p.serves); err != nil || !p.spec.RefuseAnonymous {
		return err
	}
	surprise := ""
	err := p.session(ctx, &smb2.NTLMInitiator{}, func(s *smb2.Session, _ *smbConn) (string, error) {
		surprise = p.letsIn(ctx, s)
		return "", nil
	})
	switch {
	case surprise != "":
		return fmt.Errorf("%v lets people without a name %s: restrict anonymous = 2, map to guest = never", p.at, surprise)
	case err != nil && ctx.Err() != nil:
		return err // whether it would have refused is not known
	}
	return nil
}

// session opens a session of its own, does something in it, and ends it.
func (p *smbProbe) session(ctx context.Context, as *smb2.NTLMInitiator, do func(*smb2.Session, *smbConn) (act string, err error)) (err error) {
	cut, err := dial(ctx, p.at, maxSMBAnswer)
	if err != nil {
		return err
	}
	conn := &smbConn{cutConn: cut}
	cut.seen = conn.frames.see
	defer conn.Close()
	defer func() {
		if r := recover(); r != nil { // a library that reads what strangers send
			err = p.odd(conn, "talk to")
		}
	}()
	s, err := (&smb2.Dialer{Initiator: as}).DialConn(ctx, conn, p.at.Addr().String())
	if err != nil {
		return p.explain("open a session at", err, conn)
	}
	s = s.WithContext(ctx)
	if act, err := do(s, conn); err != nil {
		return p.explain(act, err, conn)
	}
	_ = s.Logoff()
	return nil
}

// plainError is a reason in words already.
type plainError struct{ reason string }

func (e *plainError) Error() string { return e.reason }

func (p *smbProbe) plain(format string, args ...any) error {
	return &plainError{fmt.Sprintf("%v ", p.at) + fmt.Sprintf(format, args...)}
}

// who is who asks, for people.
func (p *smbProbe) who() string {
	switch p.spec.Session {
	case SMBGuest:
		return "guests"
	case SMBAnonymous:
		return "people without a name"
	}
	return p.spec.User
}

// serves does what the check is for.
func (p *smbProbe) serves(s *smb2.Session, conn *smbConn) (act string, err error) {
	if p.spec.Session == SMBUser && conn.frames.stranger() {
		return "", p.plain("takes %s for a guest: user or password are wrong, and map to guest hides it", p.spec.User)
	}
	if p.spec.Share == "" {
		return "", nil
	}
	if !p.spec.Hidden {
		names, err := s.ListSharenames()
		switch {
		case errors.Is(err, os.ErrPermission):
			return "", p.plain("does not show its shares to %s", p.who())
		case err != nil:
			return "list the shares of", err
		case !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, p.spec.Share) }):
			return "", p.plain("does not list the share %s", p.spec.Share)
		}
	}
	share, err := s.Mount(p.spec.Share)
	if err != nil {
		return "open a share of", err
	}
	return p.read(share)
}

func (p *smbProbe) read(share *smb2.Share) (act string, err error) {
	if p.spec.File == "" {
		return "", nil
	}
	f, err := share.Open(strings.ReplaceAll(p.spec.File, "/", `\`))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", p.plain("has no file %s in the share %s", p.spec.File, p.spec.Share)
	case errors.Is(err, os.ErrPermission):
		return "", p.plain("does not let %s read %s in the share %s", p.who(), p.spec.File, p.spec.Share)
	case err != nil:
		return "open a file of", err
	}
	defer f.Close()
	if _, err := f.Read(make([]byte, smbSample)); err != nil && !errors.Is(err, io.EOF) {
		return "read a file of", err
	}
	return "", nil
}

// letsIn tells what an anonymous session gets at; empty: at nothing.
func (p *smbProbe) letsIn(ctx context.Context, s *smb2.Session) string {
	if p.spec.Share != "" {
		if share, err := s.Mount(p.spec.Share); err == nil {
			_ = share.WithContext(ctx).Umount()
			return "into the share " + p.spec.Share
		}
	}
	if _, err := s.ListSharenames(); err == nil {
		return "list its shares"
	}
	return ""
}

// NTSTATUS values (MS-ERREF, 2.3.1).
const (
	statusLogonFailure   = 0xC000006D
	statusNoSuchUser     = 0xC0000064
	statusWrongPassword  = 0xC000006A
	statusExpired        = 0xC0000071
	statusDisabled       = 0xC0000072
	statusMustChange     = 0xC0000224
	statusLockedOut      = 0xC0000234
	statusBadNetworkName = 0xC00000CC
)

// explain words what an admin can act on.
func (p *smbProbe) explain(act string, err error, conn *smbConn) error {
	if _, ok := errors.AsType[*plainError](err); ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return conn.explain(act, os.ErrDeadlineExceeded)
	}
	if conn.cause() != nil {
		return p.odd(conn, act)
	}
	if errors.Is(err, os.ErrPermission) {
		return p.plain("does not let %s in: %s", p.who(), strings.TrimSuffix(act, " of"))
	}
	status, ok := errors.AsType[*smb2.ResponseError](err)
	if !ok {
		return p.odd(conn, act)
	}
	switch status.Code {
	case statusLogonFailure, statusNoSuchUser, statusWrongPassword:
		if p.spec.Session != SMBUser {
			return p.plain("does not let %s in", p.who())
		}
		return p.plain("refuses the password of %s", p.spec.User)
	case statusExpired, statusMustChange:
		return p.plain("says that the password of %s has expired", p.spec.User)
	case statusDisabled:
		return p.plain("says that the account of %s is disabled", p.spec.User)
	case statusLockedOut:
		return p.plain("says that the account of %s is locked", p.spec.User)
	case statusBadNetworkName:
		return p.plain("has no share %s", p.spec.Share)
	}
	return fmt.Errorf("%s %v: status 0x%08X", act, p.at, status.Code)
}

// odd words an answer that makes no sense.
func (p *smbProbe) odd(conn *smbConn, act string) error {
	if cause := conn.cause(); cause != nil && !errors.Is(cause, errFrame) {
		return conn.explain(act, cause)
	}
	return p.plain("does not answer as SMB 2 or 3 does")
}
