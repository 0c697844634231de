package qmp

import (
	"encoding/json"
	"slices"
	"strings"
)

// blanked stands where a secret stood.
const blanked = "***"

// secretKeys are the argument names whose values are secrets: set_password and change-vnc-password (QEMU's qapi/ui.json), the data of a
// secret object (qapi/crypto.json), the agent's guest-set-user-password and guest-file-write (qga/qapi-schema.json).
var secretKeys = []string{"password", "passwd", "data", "buf-b64", "input-data"}

// secretHMP are the human monitor's commands whose words after the name may be secrets.
var secretHMP = []string{"set_password", "change", "object_add", "block_passwd"}

// blankSecrets replaces in desc whatever the command's arguments declare secret: what a peer quotes in a refusal is its own choice, and an
// agent is the guest's.
func blankSecrets(desc string, args json.RawMessage) string {
	if len(args) == 0 {
		return desc
	}
	var v any
	if json.Unmarshal(args, &v) != nil {
		return desc
	}
	found := secretsIn(v, false, nil)
	// The longest first, so that no secret survives as the rest of a shorter one.
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) })
	for _, s := range found {
		desc = strings.ReplaceAll(desc, s, blanked)
	}
	return desc
}

func secretsIn(v any, secret bool, found []string) []string {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if line, ok := e.(string); ok && k == "command-line" {
				found = append(found, secretWords(line)...)
				continue
			}
			found = secretsIn(e, secret || slices.Contains(secretKeys, k), found)
		}
	case []any:
		for _, e := range v {
			found = secretsIn(e, secret, found)
		}
	case string:
		if secret && v != "" {
			found = append(found, v)
		}
	}
	return found
}

func secretWords(line string) []string {
	words := strings.Fields(line)
	if len(words) < 2 || !slices.Contains(secretHMP, words[0]) {
		return nil
	}
	return append(words[1:], line)
}
