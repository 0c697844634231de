package kvmha

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/arbiter"
)

const etcdMember = `node = "a"
[peer.b]
addresses = ["10.2.0.2"]
[arbiter.group.mail]
members = ["a", "b"]
[arbiter.etcd]
endpoints = ["https://etcd.example.org:2379", "https://[fd00::1]:2379"]
cert_file = "x.pem"
key_file = "/k/x.key"
`

// A member may ask an etcd by itself, and names its files beside its own.
func TestAMemberWithAnEtcd(t *testing.T) {
	spec, problems := Parse("/etc/kvmha.toml", File{Text: []byte(etcdMember), Mode: 0o644}, secret)
	for _, p := range problems {
		t.Error(p)
	}
	want := arbiter.EtcdAt{Endpoints: []string{"https://etcd.example.org:2379", "https://[fd00::1]:2379"}, Prefix: "/kvmha/arbiter/", CertFile: "/etc/x.pem", KeyFile: "/k/x.key"}
	if diff := cmp.Diff(want, spec.Etcd); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]arbiter.Group{{Name: "mail", Members: []string{"a", "b"}}}, spec.Arbiter); diff != "" {
		t.Error(diff)
	}
}

// What is wrong with the files shows where they are named, and nothing of a key does.
func TestEtcdFiles(t *testing.T) {
	cert, key := etcdPair()
	at := "/etc/kvmha.toml:8:13: arbiter.etcd.cert_file /etc/x.pem "
	atKey := "/etc/kvmha.toml:9:12: arbiter.etcd.key_file /k/x.key "
	tests := []struct {
		name      string
		cert, key File
		want      string
	}{
		{"good", File{Text: cert, Mode: 0o644}, File{Text: key, Mode: 0o600}, ""},
		{"swapped", File{Text: key, Mode: 0o600}, File{Text: cert, Mode: 0o600}, at +
			"with the key /k/x.key: tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"},
		{"not of each other", File{Text: cert}, File{Text: otherKey(t), Mode: 0o600}, at + "with the key /k/x.key: tls: private key does not match public key"},
		{"a password instead", File{Text: cert}, File{Text: []byte("hunter2"), Mode: 0o600}, at + "with the key /k/x.key: tls: failed to find any PEM data in key input"},
		{"a key that others read", File{Text: cert}, File{Text: key, Mode: 0o640}, atKey + "has the mode 0640: others can read or change it"},
		{"a key of somebody else", File{Text: cert}, File{Text: key, Mode: 0o600, UID: 12345}, atKey + "belongs to the uid 12345, who can read and change it"},
		{"too large", File{Text: []byte(strings.Repeat("x", arbiter.MaxPEM+1))}, File{Text: key, Mode: 0o600},
			"/etc/kvmha.toml:8:13: arbiter.etcd.cert_file /etc/x.pem: it is larger than 1 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := Parse("/etc/kvmha.toml", File{Text: []byte(etcdMember), Mode: 0o644}, func(path string) (File, error) {
				if path == "/k/x.key" {
					return tt.key, nil
				}
				return tt.cert, nil
			})
			got := ""
			for _, p := range problems {
				got += p.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func otherKey(t *testing.T) []byte {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
