package arbiter

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// The times and bounds of etcd.
const (
	etcdTry    = 2 * time.Second  // for one endpoint to answer
	etcdWait   = 10 * time.Second // for all of a request, where the caller's context ends later or never
	etcdRounds = 8                // times that another member may come between before the answer is "unknown"
	etcdBody   = 64 << 10         // bytes of an answer
)

// EtcdPrefix is what the keys begin with; a group's name follows.
const EtcdPrefix = "/kvmha/arbiter/"

// Etcd is an arbiter whose records are keys of an etcd: each decision is one transaction, which compares the revision at which the record was
// changed last. It speaks with the JSON gateway that every etcd from 3.4 on has on its client address. Who asks is who has the client certificate.
type Etcd struct {
	endpoints []string
	from      string
	groups    map[string][]string
	client    *http.Client
	last      atomic.Uint32 // the endpoint that answered last
}

var _ Asker = (*Etcd)(nil)

// NewEtcd makes an arbiter of an etcd's client addresses (http://host:port or https://host:port) for the node from. t holds the CA and the
// client's certificate; nil: those of the system, and none.
func NewEtcd(endpoints []string, from string, groups []Group, t *tls.Config) (*Etcd, error) {
	e := &Etcd{from: from, groups: map[string][]string{}}
	for _, s := range endpoints {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("bad endpoint of etcd %s: %w", printable(s), ErrEndpoint)
		}
		e.endpoints = append(e.endpoints, u.Scheme+"://"+u.Host)
	}
	if len(e.endpoints) == 0 {
		return nil, fmt.Errorf("no endpoint of etcd: %w", ErrEndpoint)
	}
	for _, g := range groups {
		e.groups[g.Name] = g.Members
	}
	e.client = &http.Client{
		// Not the environment's proxy, and no other place than the endpoint.
		Transport: &http.Transport{
			TLSClientConfig: t, TLSHandshakeTimeout: etcdTry, ResponseHeaderTimeout: etcdTry, MaxResponseHeaderBytes: etcdBody,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: 20 * time.Second, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e, nil
}

// ErrEndpoint says how an endpoint is written.
var ErrEndpoint = errors.New(`it is "http://host:2379" or "https://host:2379"`)

// Close closes what is idle.
func (e *Etcd) Close() { e.client.CloseIdleConnections() }

// Ask is Asker's.
func (e *Etcd) Ask(ctx context.Context, r Request) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdWait)
	defer cancel()
	if !r.valid() {
		return Record{}, ErrBadRequest
	}
	have, err := e.get(ctx, r.Group)
	if err != nil {
		return Record{}, err
	}
	for range etcdRounds {
		present, err := e.record(r.Group, have)
		if err != nil {
			return Record{}, err
		}
		next, err := Decide(present, e.groups[r.Group], e.from, r, now())
		if err != nil {
			return Record{}, err
		}
		if next.Same(present) {
			return present, nil // won before: what a linearized read shows is on most disks
		}
		done, there, err := e.put(ctx, next, have.revision)
		if err != nil {
			return Record{}, err
		}
		if done {
			return next, nil
		}
		have = there // somebody came between, or this very request when an answer was lost
	}
	return Record{}, &UnknownError{errBetween}
}

var errBetween = errors.New("others came between each time")

// Look is Asker's.
func (e *Etcd) Look(ctx context.Context, group string) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdWait)
	defer cancel()
	have, err := e.get(ctx, group)
	if err != nil {
		return Record{}, err
	}
	return e.record(group, have)
}

// Create makes a group's first record, or after a loss the one that its members know of, as Store.Create does.
func (e *Etcd) Create(ctx context.Context, group, holder string, n uint64, force bool) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdWait)
	defer cancel()
	have, err := e.get(ctx, group)
	if err != nil {
		return Record{}, err
	}
	r := Record{Group: group, Holder: holder, N: n, When: now()}
	present, err := e.record(group, have)
	if bad := creatable(present, err == nil, e.groups[group], r, force); bad != nil {
		return Record{}, bad
	}
	done, _, err := e.put(ctx, r, have.revision)
	if err == nil && !done {
		err = &UnknownError{errBetween}
	}
	return r, err
}

// record reads the record of a value.
func (e *Etcd) record(group string, f found) (Record, error) {
	if f.revision == 0 {
		return Record{}, refused(WhyMissing, restoreHint(group), fmt.Sprintf("there is no record of group %s in etcd, at %s", group, EtcdPrefix+group))
	}
	r, err := parseRecord(group, f.value)
	if err != nil {
		return Record{}, refused(WhyDamaged, restoreHint(group), fmt.Sprintf("%s in etcd: %v", EtcdPrefix+group, err))
	}
	return r, nil
}

func (e *Etcd) get(ctx context.Context, group string) (found, error) {
	if _, ok := e.groups[group]; !ok {
		return found{}, refused(WhyNoGroup, "", fmt.Sprintf("no group %q is kept in etcd", shown(group)))
	}
	data, err := e.post(ctx, "/v3/kv/range", etcdRange{[]byte(EtcdPrefix + group)})
	if err != nil {
		return found{}, &UnknownError{err}
	}
	f, err := parseRange(EtcdPrefix+group, data)
	if err != nil {
		return found{}, &UnknownError{err}
	}
	return f, nil
}

func (e *Etcd) put(ctx context.Context, r Record, revision int64) (done bool, there found, err error) {
	text, err := r.seal()
	if err != nil {
		return false, found{}, &UnknownError{err}
	}
	key := EtcdPrefix + r.Group
	data, err := e.post(ctx, "/v3/kv/txn", compareAndPut(key, revision, text))
	if err == nil {
		done, there, err = parseTxn(key, data)
	}
	if err != nil {
		return false, found{}, &UnknownError{err}
	}
	return done, there, nil
}

// post asks one endpoint after the other, beginning with the one that answered last. A transaction may so be sent more than once: the comparison
// lets it happen once, and the caller sees its own record in the answer to the second.
func (e *Etcd) post(ctx context.Context, path string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("ask etcd: %w", err)
	}
	var errs []error
	first := int(e.last.Load())
	for i := range e.endpoints {
		at := (first + i) % len(e.endpoints)
		data, err := e.one(ctx, e.endpoints[at]+path, text)
		if err == nil {
			e.last.Store(uint32(at))
			return data, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (e *Etcd) one(ctx context.Context, at string, text []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTry)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("ask etcd: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask etcd: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, etcdBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read etcd's answer at %s: %w", at, err)
	case len(data) > etcdBody:
		return nil, fmt.Errorf("read etcd's answer at %s: %w", at, errEtcdAnswer)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %w", at, parseEtcdError(resp.StatusCode, data))
	}
	return data, nil
}
