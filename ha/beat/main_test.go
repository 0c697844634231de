package beat

import (
	"crypto/hmac"
	"crypto/sha256"
)

// sign adds the MAC to what somebody has made by hand.
func sign(b []byte, key [32]byte) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write(b)
	return mac.Sum(b)
}
