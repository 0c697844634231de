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
		Addresses: []string{}, Facts: []string{configured(s)}}
	m.Headline = headline(m)
	var tried []Tried
	for _, v := range all {
		tried = append(tried, Tried{v.name, v.to, v.send(ctx, m)})
	}
	return tried, nil
}

// configured is what a test says about its file, in the language of mails.
func configured(s ha.Spec) string {
	n, one, many := len(s.Groups), "1 group is configured in %s", "%d groups are configured in %s"
	if s.Language == ha.French {
		one, many = "1 groupe est configuré dans %s", "%d groupes sont configurés dans %s"
	}
	if n == 1 {
		return fmt.Sprintf(one, s.File)
	}
	return fmt.Sprintf(many, n, s.File)
}
