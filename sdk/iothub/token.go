package iothub

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const tokenPrefix = "SharedAccessSignature "

// Errors of Token.Verify.
var (
	ErrTokenExpired   = errors.New("token has expired")
	ErrTokenSignature = errors.New("token signature does not match")
)

// Token is a parsed shared access signature.
type Token struct {
	Resource string    // sr, exactly as sent: the signature is over this text
	Policy   string    // skn, "" for a device's own key
	Expiry   time.Time // se

	expiry    string // se as sent
	signature []byte
}

// SignToken makes a token for resource (`{host}/devices/{id}`, not escaped) with a base64 key;
// policy names the key if it is a policy's. Expiry counts in whole seconds.
func SignToken(resource, key, policy string, expiry time.Time) (string, error) {
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(secret) == 0 {
		return "", errors.New("cannot sign token: key is not base64")
	}
	sr, se := url.QueryEscape(resource), strconv.FormatInt(expiry.Unix(), 10)
	sig := url.QueryEscape(base64.StdEncoding.EncodeToString(sign(secret, sr, se)))
	token := tokenPrefix + "sr=" + sr + "&sig=" + sig + "&se=" + se
	if policy != "" {
		token += "&skn=" + url.QueryEscape(policy)
	}
	return token, nil
}

func sign(secret []byte, sr, se string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(sr + "\n" + se))
	return mac.Sum(nil)
}

// ParseToken reads `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`, fields in any order, each at most once.
func ParseToken(text string) (Token, error) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return Token{}, errors.New("cannot parse token: not a SharedAccessSignature")
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, "&") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		if _, twice := fields[name]; twice {
			return Token{}, fmt.Errorf("cannot parse token: field %q comes twice", name)
		}
		fields[name] = value
	}
	return newToken(fields)
}

func newToken(fields map[string]string) (Token, error) {
	t := Token{Resource: fields["sr"], expiry: fields["se"]}
	if t.Resource == "" {
		return Token{}, errors.New("cannot parse token: sr is missing")
	}
	seconds, err := strconv.ParseInt(t.expiry, 10, 64)
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return Token{}, errors.New("cannot parse token: se is not a time in seconds")
	}
	t.Expiry = time.Unix(seconds, 0)
	if t.Policy, err = url.QueryUnescape(fields["skn"]); err != nil {
		return Token{}, errors.New("cannot parse token: skn is not url-encoded")
	}
	// Base64's '+' may come bare: PathUnescape leaves it alone where QueryUnescape would make it a space.
	sig, err := url.PathUnescape(fields["sig"])
	if err != nil {
		return Token{}, errors.New("cannot parse token: sig is not url-encoded")
	}
	if t.signature, err = base64.StdEncoding.DecodeString(sig); err != nil {
		return Token{}, errors.New("cannot parse token: sig is not base64")
	}
	return t, nil
}

// Verify checks the signature against a base64 key, then the expiry: ErrTokenSignature, ErrTokenExpired or nil.
func (t Token) Verify(key string, now time.Time) error {
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(secret) == 0 {
		return ErrTokenSignature
	}
	if !hmac.Equal(t.signature, sign(secret, t.Resource, t.expiry)) {
		return ErrTokenSignature
	}
	if !now.Before(t.Expiry) {
		return ErrTokenExpired
	}
	return nil
}

// Covers tells whether the token's resource holds path (`/devices/{id}`): a prefix by whole segments, compared without
// case. The resource's host is not compared: a hub goes by several names, and its keys are its own.
func (t Token) Covers(path string) bool {
	resource, err := url.PathUnescape(t.Resource)
	if err != nil {
		return false
	}
	have := strings.Split(strings.TrimRight(resource, "/"), "/")[1:]
	want := strings.Split(strings.Trim(path, "/"), "/")
	if len(have) > len(want) {
		return false
	}
	for i, segment := range have {
		if !strings.EqualFold(segment, want[i]) {
			return false
		}
	}
	return true
}
