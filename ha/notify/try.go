package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvmctl/ha"
)

// Tried is what became of a test by one voice.
type Tried struct {
	Voice string
	To    string
	Err   error // nil: it was taken
}

// ErrNoVoice says that nobody would hear of anything.
var ErrNoVoice = errors.New("neither [mail] nor [webhook] nor [command] is configured")

// Test sends a message by each voice, now, and tells what became of it.
func Test(ctx context.Context, s ha.Spec) ([]Tried, error) {
	all := voices(s)
	if len(all) == 0 {
		return nil, ErrNoVoice
	}
	now := time.Now()
	m := Message{Version: messageVersion, ID: messageID(now, 1), Time: now, Since: now, Node: s.Node, Kind: kindTest, Subject: kindTest, Language: string(s.Language),
		Addresses: []string{}, Facts: []string{fmt.Sprintf("%d groups are configured in %s", len(s.Groups), s.File)}}
	m.Headline = headline(m)
	var tried []Tried
	for _, v := range all {
		tried = append(tried, Tried{v.name, v.to, v.send(ctx, m)})
	}
	return tried, nil
}
