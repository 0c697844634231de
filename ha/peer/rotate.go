package peer

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kvmctl/internal/flock"
)

// rekey is the body of VerbRekey: the node's next key, signed by it for this one receiver.
type rekey struct {
	Next  PublicKey `json:"next"`
	Proof []byte    `json:"proof"`
}

func rekeyDigest(next, to PublicKey) []byte { return digest("rekey", next.bytes(), to.bytes()) }

// rekeyWait is how long the nodes have to accept a new key: they look at their files each second.
const rekeyWait = 15 * time.Second

// Rotate gives this node another key. Every node is asked to accept it beside the old one; only when all of them do is it used, so nobody is ever
// locked out: where one does not answer, nothing has changed, and the next call goes on with the same new key.
func Rotate(ctx context.Context, dir, program string, nodes []Node) error {
	ctx, cancel := context.WithTimeout(ctx, rekeyWait)
	defer cancel()
	if _, err := LoadIdentity(dir); err != nil { // before there is a directory for a lock
		return err
	}
	l, err := flock.TryLock(filepath.Join(dir, rotateLock))
	if errors.Is(err, flock.ErrLocked) {
		return ErrRotating
	}
	if err != nil {
		return fmt.Errorf("change this node's key: %w", err)
	}
	defer l.Unlock()
	old, err := LoadIdentity(dir)
	if err != nil {
		return err
	}
	next, err := createIdentity(dir, nextFile)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		in := rekey{next.public, ed25519.Sign(next.sign, rekeyDigest(next.public, n.Key))}
		if err := offer(ctx, program, old, n, in); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, accepted(ctx, program, next, n, in))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, nextFile), filepath.Join(dir, identityFile)); err != nil {
		return fmt.Errorf("use the new key: %w", err)
	}
	return syncDir(dir)
}

func offer(ctx context.Context, program string, id *Identity, n Node, in rekey) error {
	c := NewClient(program, id)
	defer c.Close()
	if err := c.Do(ctx, n, VerbRekey, in, nil); err != nil {
		return fmt.Errorf("offer the new key to %s: %w", n.Name, err)
	}
	return nil
}

// accepted waits until a node answers to the new key.
func accepted(ctx context.Context, program string, next *Identity, n Node, in rekey) error {
	for {
		err := offer(ctx, program, next, n, in)
		if err == nil || ctx.Err() != nil || !errors.Is(err, ErrUnpaired) {
			return err
		}
		pause(ctx, rekeyWait/100)
	}
}

// AcceptRekey answers a node that asks to be known by another key as well. from.Key is the one that it has proved to have.
func AcceptRekey(dir string, own PublicKey, from Node, body json.RawMessage) error {
	var in rekey
	if json.Unmarshal(body, &in) != nil || in.Next.IsZero() || !ed25519.Verify(in.Next.Sign[:], rekeyDigest(in.Next, own), in.Proof) {
		return &AnswerError{Code: CodeBadRequest, Text: "this is no new key"}
	}
	return change(dir, func() error {
		p, err := LoadPin(dir, from.Name)
		switch {
		case err != nil:
			return err
		case p.Key == in.Next, p.Next == in.Next:
			return nil
		case p.Key != from.Key:
			return &AnswerError{Code: CodeRefused, Text: "a key is changed by who has the old one"}
		}
		return savePin(dir, from.Name, Pin{p.Key, in.Next})
	})
}

// Switched forgets the old key of a node that uses its new one.
func Switched(dir string, from Node) error {
	return change(dir, func() error {
		p, err := LoadPin(dir, from.Name)
		if err != nil || p.Next.IsZero() || p.Next != from.Key {
			return err
		}
		return savePin(dir, from.Name, Pin{Key: p.Next})
	})
}
