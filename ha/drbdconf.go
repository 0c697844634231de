package ha

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/peer"
)

// DRBDConf is the answer to peer.VerbDRBDConf: what drbdadm reads on a node.
type DRBDConf struct {
	Host  string `json:"host"`  // as uname -n has it
	Texts []byte `json:"texts"` // conf.Share's Memory: a JSON object of strings, by gzip
}

// The bounds of a DRBDConf, in bytes.
const (
	drbdConfRoom  = 40 << 10 // packed; a frame has base64 of it
	drbdConfTotal = 8 << 20  // unpacked
)

var (
	errDRBDConfRoom = errors.New("drbd.conf and what it includes are longer than one answer may be")
	errDRBDConf     = errors.New("what it sent is no drbd.conf")
)

// PackDRBDConf puts a host's files into an answer.
func PackDRBDConf(host string, texts conf.Memory) (DRBDConf, error) {
	all := make(map[string]string, len(texts))
	for name, text := range texts {
		all[name] = string(text)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(all), z.Close()); err != nil {
		return DRBDConf{}, fmt.Errorf("pack drbd.conf: %w", err)
	}
	if b.Len() > drbdConfRoom {
		return DRBDConf{}, errDRBDConfRoom
	}
	return DRBDConf{host, b.Bytes()}, nil
}

// Read reads the answer of a node; label goes before each file's name in positions. What no such answer is, bounded, is an error.
func (d DRBDConf) Read(label string) (*conf.Config, error) {
	texts, err := d.texts()
	if err != nil {
		return nil, err
	}
	return conf.Load(texts, label, conf.Main)
}

func (d DRBDConf) texts() (conf.Memory, error) {
	z, err := gzip.NewReader(bytes.NewReader(d.Texts))
	if err != nil {
		return nil, errDRBDConf
	}
	text, err := io.ReadAll(io.LimitReader(z, drbdConfTotal+1))
	all := map[string]string{}
	if err != nil || len(text) > drbdConfTotal || json.Unmarshal(text, &all) != nil {
		return nil, errDRBDConf
	}
	texts := make(conf.Memory, len(all))
	for name, text := range all {
		texts[name] = []byte(text)
	}
	return texts, nil
}

// tellDRBDConf answers a member with what drbdadm reads here. No secret leaves: conf.Share. The files are fixed: nothing of the question counts.
func tellDRBDConf(source conf.Source, host func() (string, error)) peer.Handler {
	var one sync.Mutex // several that ask at once wait for each other
	return func(_ context.Context, from peer.Node, _ json.RawMessage) (any, error) {
		if from.Role != peer.Member {
			return nil, &peer.AnswerError{Code: peer.CodeRefused, Text: "only a member asks for drbd.conf"}
		}
		one.Lock()
		defer one.Unlock()
		texts, err := conf.Share(source, conf.Main)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, &peer.AnswerError{Code: peer.CodeNoStorage, Text: "cannot read drbd.conf: " + err.Error()}
		case err != nil:
			return nil, &peer.AnswerError{Code: peer.CodeFailed, Text: "cannot read drbd.conf: " + err.Error(), Advice: "there: kvmha drbd lint"}
		}
		name, err := host()
		if err != nil {
			return nil, fmt.Errorf("ask for the host's name: %w", err)
		}
		return PackDRBDConf(name, texts)
	}
}
