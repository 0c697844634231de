package arbiter

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

// The JSON forms of etcd's gRPC messages, as its gateway reads and writes them (etcd 3.4, Documentation/dev-guide/api_grpc_gateway.md and
// etcdserver/etcdserverpb/rpc.proto): bytes are base64, 64-bit numbers are strings, what is zero is left out.

type etcdKV struct {
	Key            []byte `json:"key,omitempty"`
	Value          []byte `json:"value,omitempty"`
	ModRevision    int64  `json:"mod_revision,omitempty,string"`
	CreateRevision int64  `json:"create_revision,omitempty,string"`
}

type etcdRange struct {
	Key []byte `json:"key"` // without "serializable": the answer is linearized
}

type etcdPut struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

type etcdCompare struct {
	Key         []byte `json:"key"`
	Target      string `json:"target"`
	Result      string `json:"result"`
	ModRevision int64  `json:"mod_revision,string"`
}

type etcdOp struct {
	Put   *etcdPut   `json:"request_put,omitempty"`
	Range *etcdRange `json:"request_range,omitempty"`
}

type etcdTxn struct {
	Compare []etcdCompare `json:"compare"`
	Success []etcdOp      `json:"success"`
	Failure []etcdOp      `json:"failure"`
}

type etcdRangeAnswer struct {
	Header *json.RawMessage `json:"header"`
	KVs    []etcdKV         `json:"kvs"`
}

type etcdTxnAnswer struct {
	Header    *json.RawMessage `json:"header"`
	Succeeded bool             `json:"succeeded"`
	Responses []struct {
		Range *etcdRangeAnswer `json:"response_range"`
	} `json:"responses"`
}

// compareAndPut is the transaction: value under key if its last change is still the one at revision, 0 for a key that is not there; otherwise what
// is there comes back.
func compareAndPut(key string, revision int64, value []byte) etcdTxn {
	k := []byte(key)
	return etcdTxn{
		Compare: []etcdCompare{{Key: k, Target: "MOD", Result: "EQUAL", ModRevision: revision}},
		Success: []etcdOp{{Put: &etcdPut{k, value}}},
		Failure: []etcdOp{{Range: &etcdRange{k}}},
	}
}

// errEtcdAnswer says that an answer is none of etcd's to the question.
var errEtcdAnswer = errors.New("the answer is not etcd's")

// found is a key's value.
type found struct {
	value    []byte
	revision int64 // of its last change; 0: it is not there
}

// parseRange reads the answer to a range of one key.
func parseRange(key string, data []byte) (found, error) {
	var a etcdRangeAnswer
	if json.Unmarshal(data, &a) != nil || a.Header == nil {
		return found{}, errEtcdAnswer
	}
	return a.found(key)
}

func (a *etcdRangeAnswer) found(key string) (found, error) {
	switch {
	case len(a.KVs) == 0:
		return found{}, nil
	case len(a.KVs) > 1, string(a.KVs[0].Key) != key, a.KVs[0].ModRevision < 1:
		return found{}, errEtcdAnswer
	}
	return found{a.KVs[0].Value, a.KVs[0].ModRevision}, nil
}

// parseTxn reads the answer to compareAndPut: done, or what was there instead.
func parseTxn(key string, data []byte) (done bool, there found, err error) {
	var a etcdTxnAnswer
	switch {
	case json.Unmarshal(data, &a) != nil, a.Header == nil, len(a.Responses) != 1:
		return false, found{}, errEtcdAnswer
	case a.Succeeded:
		return true, found{}, nil
	case a.Responses[0].Range == nil:
		return false, found{}, errEtcdAnswer
	}
	there, err = a.Responses[0].Range.found(key)
	return false, there, err
}

type etcdAlarm struct {
	Action string `json:"action"`
}

// parseAlarms gives the kind of the first alarm in an answer; "" where there is none.
func parseAlarms(data []byte) string {
	var a struct {
		Alarms []struct {
			Alarm string `json:"alarm"`
		} `json:"alarms"`
	}
	if json.Unmarshal(data, &a) != nil || len(a.Alarms) == 0 {
		return ""
	}
	return printable(cmp.Or(a.Alarms[0].Alarm, "NONE"))
}

// parseEtcdError reads why etcd did not answer.
func parseEtcdError(status int, data []byte) error {
	var e struct {
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	text := "no reason given"
	if json.Unmarshal(data, &e) == nil && e.Message+e.Error != "" {
		text = printable(cmp.Or(e.Message, e.Error))
	}
	return fmt.Errorf("etcd answers %d: %s", status, text)
}
