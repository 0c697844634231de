package lint_test

import (
	"encoding/json"
	"strings"
	"testing"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
)

// Wherever a slip puts the shared secret, neither a finding nor an error repeats it.
func TestNoSecretIsPrinted(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, slip := range []string{
		`shared-secret "` + secret + `";`, `shared-secret "` + secret, `shared-secret ` + secret, `shared-secret "` + secret + `" "` + secret + `";`, `shared_secret "` + secret + `";`,
		`sharedsecret ` + secret + `;`, secret + `;`, `"` + secret + `";`, `shared-secret; ` + secret + `;`, `shared-secret = "` + secret + `";`, `shared-secret: ` + secret + `;`,
		`cram-hmac-alg sha256 ` + secret + `;`, `} disk { shared-secret "` + secret + `";`, `} handlers { shared-secret "` + secret + `";`, `} shared-secret "` + secret + `"; net {`,
		`shared-secret "` + strings.Repeat(secret, 5) + `";`, `shared-secret "` + strings.Repeat(secret, 50) + `";`, `shared-secret ` + strings.Repeat(secret, 50) + `;`,
		"shared-secret\n\"" + secret + "\n\";", `shared-secret '` + secret + `';`, `shared-secret "` + secret + "\x00" + `";`, `# shared-secret "` + secret + "\";\n",
	} {
		text := strings.Replace(good, `shared-secret "s3cr3t";`, slip, 1)
		here, err := conf.Load(conf.Memory{"/r.conf": []byte(text)}, "", "/r.conf")
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q: %v", slip, err)
			}
			continue
		}
		here.Files[0].Mode = 0o644
		for _, peer := range []*conf.Config{nil, load(t, "peer:", good)} {
			for _, in := range []lint.Input{{Here: here, Peer: peer}, {Here: load(t, "", good), Peer: here}} {
				all, err := json.Marshal(lint.Lint(in))
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(all), secret) {
					t.Errorf("%q: %s", slip, all)
				}
			}
		}
	}
}
