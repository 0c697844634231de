package arbiter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvmctl/ha/peer"
)

// handleWait bounds one request on the arbiter's side.
const handleWait = 10 * time.Second

// The acts of the channel's verb.
const (
	actAsk  = "ask"
	actLook = "look"
)

// query is what travels to the arbiter.
type query struct {
	Act     string   `json:"act"`
	Group   string   `json:"group,omitempty"`   // of look
	Request *Request `json:"request,omitempty"` // of ask
}

// reply is what comes back.
type reply struct {
	Outcome string        `json:"outcome"`
	Record  *Record       `json:"record,omitempty"`
	Refusal *RefusedError `json:"refusal,omitempty"`
}

// The outcomes.
const (
	outcomeWon     = "won"
	outcomeLost    = "lost"
	outcomeRecord  = "record"
	outcomeRefused = "refused"
)

// Handler answers the verb peer.VerbArbiter. Who asks is the node whose key has proved it, whatever the request says. told, which may be nil, is
// given what became of each request to go on alone.
func Handler(k Keeper, told func(from string, r Request, err error)) peer.Handler {
	return func(ctx context.Context, from peer.Node, in json.RawMessage) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, handleWait)
		defer cancel()
		var q query
		if json.Unmarshal(in, &q) != nil {
			return nil, &peer.AnswerError{Code: peer.CodeBadRequest, Text: ErrBadRequest.Text}
		}
		switch {
		case q.Act == actAsk && q.Request != nil:
			r, err := k.AskFrom(ctx, from.Name, *q.Request)
			if told != nil {
				told(from.Name, *q.Request, err)
			}
			return answer(outcomeWon, r, err)
		case q.Act == actLook:
			if !slices.Contains(k.Members(q.Group), from.Name) {
				return answer("", Record{}, refused(WhyNoMember, "", fmt.Sprintf("%s is not a member of group %s", from.Name, shown(q.Group))))
			}
			r, err := k.Look(ctx, q.Group)
			return answer(outcomeRecord, r, err)
		}
		return nil, &peer.AnswerError{Code: peer.CodeBadRequest, Text: ErrBadRequest.Text}
	}
}

// answer puts a decision in the form in which it travels. What is not known stays an error: it must never look like a decision.
func answer(good string, r Record, err error) (any, error) {
	lost, isLost := errors.AsType[*LostError](err)
	no, isRefused := errors.AsType[*RefusedError](err)
	switch {
	case err == nil:
		return reply{Outcome: good, Record: &r}, nil
	case isLost:
		return reply{Outcome: outcomeLost, Record: &lost.Record}, nil
	case isRefused:
		return reply{Outcome: outcomeRefused, Refusal: no}, nil
	}
	return nil, err
}

// Remote is an arbiter that another node's agent is.
type Remote struct {
	Client *peer.Client
	Node   peer.Node
}

var _ Asker = Remote{}

// Ask is Asker's.
func (a Remote) Ask(ctx context.Context, r Request) (Record, error) {
	if !r.valid() {
		return Record{}, ErrBadRequest
	}
	var got reply
	if err := a.Client.Do(ctx, a.Node, peer.VerbArbiter, query{Act: actAsk, Request: &r}, &got); err != nil {
		return Record{}, &UnknownError{err}
	}
	return r.judge(got)
}

// errAnswer says that an answer does not belong to its question.
var errAnswer = errors.New("it does not answer what was asked")

// judge reads the answer to a request.
func (r Request) judge(got reply) (Record, error) {
	switch {
	case got.Outcome == outcomeRefused && got.Refusal != nil:
		return Record{}, got.Refusal.bounded()
	case got.Record == nil || !got.Record.valid() || got.Record.Group != r.Group:
	case got.Outcome == outcomeWon && r.answers(*got.Record):
		return *got.Record, nil
	case got.Outcome == outcomeLost && got.Record.N >= r.N && !r.answers(*got.Record):
		return Record{}, &LostError{*got.Record}
	}
	return Record{}, &UnknownError{errAnswer}
}

// Look is Asker's.
func (a Remote) Look(ctx context.Context, group string) (Record, error) {
	if !ValidGroup(group) {
		return Record{}, ErrBadRequest
	}
	var got reply
	if err := a.Client.Do(ctx, a.Node, peer.VerbArbiter, query{Act: actLook, Group: group}, &got); err != nil {
		return Record{}, &UnknownError{err}
	}
	switch {
	case got.Outcome == outcomeRefused && got.Refusal != nil:
		return Record{}, got.Refusal.bounded()
	case got.Outcome == outcomeRecord && got.Record != nil && got.Record.valid() && got.Record.Group == group:
		return *got.Record, nil
	}
	return Record{}, &UnknownError{errAnswer}
}

// bounded gives a refusal from outside with texts that a log and a terminal can show.
func (e *RefusedError) bounded() *RefusedError {
	known := []Why{WhyBadRequest, WhyNoMember, WhyNoGroup, WhyMissing, WhyDamaged, WhyBehind, WhyThere}
	out := &RefusedError{e.Why, printable(e.Text), printable(e.Advice)}
	if !slices.Contains(known, out.Why) {
		out.Why = WhyElsewhere
	}
	return out
}

// printable gives at most 500 bytes of a text; what could steer a terminal becomes a question mark.
func printable(s string) string {
	b := []byte(s[:min(len(s), 500)])
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '?'
		}
	}
	return string(b)
}
