package accounts

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// KnownCookie is the name of the cookie with a browser's Origin.Known.
const KnownCookie = "__Host-tranquil-known"

// knownLife is as long as browsers keep a cookie at most.
const knownLife = 400 * 24 * time.Hour

// An Origin is where an attempt to log in comes from.
type Origin struct {
	Host  string // address
	Known string // what Accounts.Known has given to that browser or program; anything else is nothing
}

// OriginOf is that of a browser's request.
func OriginOf(r *http.Request) Origin {
	from := Origin{Host: RemoteHost(r)}
	if cookie, err := r.Cookie(KnownCookie); err == nil {
		from.Known = cookie.Value
	}
	return from
}

// Known is a text for the browser or program by which a user has logged in. It lets nobody in; but attempts that bring
// it are counted by themselves, so nobody elsewhere can use them up (what OWASP calls a device cookie).
func (a *Accounts) Known(user string) string {
	nonce := rand.Text()
	return nonce + "." + a.seal(user, nonce)
}

// NewKnownCookie is the cookie of Known.
func (a *Accounts) NewKnownCookie(user string) *http.Cookie {
	return &http.Cookie{
		Name: KnownCookie, Value: a.Known(user), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(knownLife / time.Second),
	}
}

func (a *Accounts) seal(user, nonce string) string {
	mac := hmac.New(sha256.New, a.Seal)
	fmt.Fprintf(mac, "%q %q", user, nonce)
	return hex.EncodeToString(mac.Sum(nil))
}

func (a *Accounts) knows(user, known string) bool {
	nonce, seal, ok := strings.Cut(known, ".")
	return ok && len(user) <= 64 && hmac.Equal([]byte(seal), []byte(a.seal(user, nonce)))
}

var errTooMany = twin.Throttled.With("too many attempts to log in: wait a minute")

// admit takes an attempt to be some user, and answers what gives it back; twin.Throttled.
func (a *Accounts) admit(name string, from Origin) (giveBack func(), err error) {
	now := a.Clock()
	if a.knows(name, from.Known) {
		if !a.known.Take(from.Known, 1, now) {
			return nil, errTooMany
		}
		return func() { a.known.Give(from.Known, 1, now) }, nil
	}
	user, network := "user "+name[:min(len(name), 64)], "from "+networkOf(from.Host)
	if !a.logins.Take(user, 1, now) { // and does not become a network that has to be remembered
		return nil, errTooMany
	}
	if !a.logins.Take(network, 1, now) {
		a.logins.Give(user, 1, now)
		return nil, errTooMany
	}
	return func() {
		a.logins.Give(user, 1, now)
		a.logins.Give(network, 1, now)
	}, nil
}
