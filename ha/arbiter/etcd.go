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
	"slices"
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

// Etcd keeps records as keys of an etcd: each decision is one transaction, which compares the revision at which the record was changed last. It
// speaks with the JSON gateway that every etcd from 3.4 on has on its client address.
type Etcd struct {
	endpoints []string
	prefix    string
	groups    map[string][]string
	client    *http.Client
	last      atomic.Uint32 // the endpoint that answered last
	now       func() time.Time
}

// NewEtcd makes a Keeper of an etcd's client addresses, as Endpoint reads them. A key is the prefix with a group's name. t holds the CA and the client's
// certificate; nil: those of the system, and none.
func NewEtcd(endpoints []string, prefix string, groups []Group, t *tls.Config) (*Etcd, error) {
	e := &Etcd{prefix: prefix, groups: map[string][]string{}, now: now}
	for _, s := range endpoints {
		at, err := Endpoint(s)
		if err != nil {
			return nil, fmt.Errorf("bad endpoint of etcd %s: %w", printable(s), err)
		}
		e.endpoints = append(e.endpoints, at)
	}
	if len(e.endpoints) == 0 {
		return nil, fmt.Errorf("no endpoint of etcd: %w", ErrEndpoint)
	}
	for _, g := range groups {
		e.groups[g.Name] = slices.Clone(g.Members)
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

// Close is Keeper's.
func (e *Etcd) Close() { e.client.CloseIdleConnections() }

// Members is Keeper's.
func (e *Etcd) Members(group string) []string { return slices.Clone(e.groups[group]) }

// AskFrom is Keeper's.
func (e *Etcd) AskFrom(ctx context.Context, from string, r Request) (Record, error) {
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
		next, err := Decide(present, e.groups[r.Group], from, r, e.now())
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

// Look is Keeper's.
func (e *Etcd) Look(ctx context.Context, group string) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdWait)
	defer cancel()
	have, err := e.get(ctx, group)
	if err != nil {
		return Record{}, err
	}
	return e.record(group, have)
}

// Create is Keeper's.
func (e *Etcd) Create(ctx context.Context, group, holder string, n uint64, force bool) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdWait)
	defer cancel()
	have, err := e.get(ctx, group)
	if err != nil {
		return Record{}, err
	}
	r := Record{Group: group, Holder: holder, N: n, When: e.now()}
	present, err := e.record(group, have)
	if bad := creatable(present, err, e.groups[group], r, force); bad != nil {
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
		return Record{}, refused(WhyMissing, restoreHint(group), fmt.Sprintf("there is no record of group %s in etcd, at %s", group, e.prefix+group))
	}
	return kept(group, e.groups[group], e.prefix+group+" in etcd", f.value)
}

func (e *Etcd) get(ctx context.Context, group string) (found, error) {
	if _, ok := e.groups[group]; !ok {
		return found{}, refused(WhyNoGroup, "", fmt.Sprintf("no group %q is kept in etcd", shown(group)))
	}
	data, err := e.post(ctx, "/v3/kv/range", etcdRange{[]byte(e.prefix + group)})
	if err != nil {
		return found{}, &UnknownError{err}
	}
	f, err := parseRange(e.prefix+group, data)
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
	key := e.prefix + r.Group
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
