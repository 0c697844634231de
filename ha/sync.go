package ha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"kvmctl/ha/confsync"
	"kvmctl/ha/failover"
	"kvmctl/ha/peer"
)

// The times of config sync.
const (
	syncLook  = time.Second      // it is looked so often whether a job is due
	syncFresh = 5 * time.Second  // a view of the source may be so old
	syncWait  = 10 * time.Minute // for one run
)

// SyncRequest is the body of peer.VerbSyncPull.
type SyncRequest struct {
	Sync string `json:"sync"`
	Path int    `json:"path"` // which of its paths, counted from 0; where it is says each node's own file
	Of   int    `json:"of"`   // so many: the two files have to agree
	Tree bool   `json:"tree"` // it is a directory, likewise
}

// ErrSource says that this node is where others copy from.
var ErrSource = errors.New("this node is active: it is the source, and copies from nobody")

// NoSourceError says that nobody is there to copy from.
type NoSourceError struct{ Group, Why string }

func (e *NoSourceError) Error() string {
	return fmt.Sprintf("no source: %s for group %s", e.Why, e.Group)
}

// Hint says where to look.
func (e *NoSourceError) Hint() string { return "kvmha status" }

// SyncSource decides from what a node knows where it copies a group's configuration from: the one peer that is active, while it itself is not.
func SyncSource(s Status, group string) (peer string, err error) {
	i := slices.IndexFunc(s.Groups, func(g GroupStatus) bool { return g.Name == group })
	if i < 0 {
		return "", &NoSourceError{group, "this node has no such group"}
	}
	switch role := s.Groups[i].Role; role {
	case failover.Active.String():
		return "", ErrSource
	case failover.Standby.String(), failover.Waiting.String():
	default:
		return "", &NoSourceError{group, "this node is " + role}
	}
	for _, p := range s.Peers {
		if p.Report == nil || p.Wrong != "" || p.Seen == nil || *p.Seen > syncFresh.Seconds() ||
			!slices.ContainsFunc(p.Report.Groups, func(g GroupReport) bool { return g.Name == group && g.Role == failover.Active.String() }) {
			continue
		}
		if peer != "" {
			return "", &NoSourceError{group, peer + " and " + p.Name + " are both active"}
		}
		peer = p.Name
	}
	if peer == "" {
		return "", &NoSourceError{group, "no peer is known to be active"}
	}
	return peer, nil
}

// askedPull lets a peer copy a declared path, as long as this node is active.
func (c *channel) askedPull(ctx context.Context, from peer.Node, in json.RawMessage) (func(context.Context, net.Conn), error) {
	var r SyncRequest
	if json.Unmarshal(in, &r) != nil || from.Role != peer.Member {
		return nil, &peer.AnswerError{Code: peer.CodeBadRequest, Text: "this is no request of a member for a sync"}
	}
	c.mu.Lock()
	jobs := c.syncs
	c.mu.Unlock()
	i := slices.IndexFunc(jobs, func(j confsync.Job) bool { return j.Name == r.Sync })
	if i < 0 || r.Path < 0 || r.Path >= len(jobs[i].Paths) || len(jobs[i].Paths) != r.Of || strings.HasSuffix(jobs[i].Paths[r.Path], "/") != r.Tree {
		return nil, &peer.AnswerError{Code: peer.CodeRefused, Text: fmt.Sprintf("no sync %.40q here has such paths", r.Sync), Advice: "compare [[sync]] on both nodes"}
	}
	group, path := jobs[i].Group, jobs[i].Paths[r.Path]
	if err := c.serves(ctx, group); err != nil {
		return nil, err
	}
	if err := confsync.Offered(path); err != nil {
		return nil, &peer.AnswerError{Code: peer.CodeFailed, Text: err.Error()}
	}
	return func(ctx context.Context, conn net.Conn) {
		ctx, cancel := context.WithCancel(ctx)
		var looking sync.WaitGroup
		defer looking.Wait()
		defer cancel()
		looking.Go(func() { // who is the source no more gives no more
			for ; ctx.Err() == nil; sleep(ctx, syncLook) {
				if c.serves(ctx, group) != nil {
					cancel()
				}
			}
		})
		if err := confsync.Serve(ctx, conn, path); err != nil && ctx.Err() == nil {
			c.a.Log.Warn("a peer's copy ended early", "peer", from.Name, "path", path, "error", err)
		}
	}, nil
}

// serves reports by nil that this node is the source for a group.
func (c *channel) serves(ctx context.Context, group string) error {
	reply := c.a.ask(ctx, Request{Verb: VerbStatus})
	if reply.Status == nil {
		return errors.New(reply.Error)
	}
	if _, err := SyncSource(*reply.Status, group); !errors.Is(err, ErrSource) {
		return &peer.AnswerError{Code: peer.CodeRefused, Text: "this node is not active in group " + group + ": it is not the source", Advice: "kvmha status"}
	}
	return nil
}

// say tells people of a job that fails now, or works again.
func (c *channel) say(spec Spec, job confsync.Job, err error) {
	alert := failover.Alert{Kind: failover.AlertEnd, Subject: failover.AboutSync, Name: job.Name}
	if err != nil {
		alert.Kind, alert.Facts, alert.Command = failover.AlertFirst, strings.Split(err.Error(), "\n"), "kvmha sync "+job.Name
		if bad, ok := errors.AsType[*confsync.InvalidError](err); ok { // a fact has room for a line
			alert.Facts = append([]string{"the new files are refused by " + strings.Join(bad.Argv, " ")}, strings.Split(bad.Said, "; ")...)
		}
	}
	i := slices.IndexFunc(spec.Groups, func(g Group) bool { return g.Name == job.Group })
	if c.a.Voices != nil && i >= 0 {
		c.a.Voices.Say(spec, spec.Groups[i], alert)
	}
}
