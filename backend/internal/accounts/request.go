package accounts

import (
	"context"
	"crypto/subtle"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Cookie is the name of the cookie that holds the secret of a session. Its prefix has browsers refuse it from anywhere
// else than this very host over TLS (RFC 6265bis, 4.1.3).
const Cookie = "__Host-tranquil"

// CSRFField is the field of a form, or the parameter of a query, with Identity.CSRF; CSRFHeader is for scripts.
const (
	CSRFField  = "csrf"
	CSRFHeader = "X-CSRF-Token"
)

// NewCookie is the cookie of a session, or without a secret the one that removes it.
func NewCookie(secret string) *http.Cookie {
	c := &http.Cookie{Name: Cookie, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if secret == "" {
		c.MaxAge = -1
	}
	return c
}

type identityKey struct{}

// Of is the identity of a request that Identify has let through.
func Of(ctx context.Context) Identity {
	i, _ := ctx.Value(identityKey{}).(Identity)
	return i
}

// Identify answers the context of a request with whom it is from: the bearer of a token, or a session. One that changes
// something in a session must prove that it comes from one of our pages. Errors are twin.Unauthorized,
// twin.Forbidden, or the store's.
func (a *Accounts) Identify(r *http.Request) (context.Context, error) {
	i, err := a.identity(r)
	if err != nil {
		return nil, err
	}
	ctx := context.WithValue(r.Context(), identityKey{}, i)
	return audit.By(ctx, i.Actor(RemoteHost(r))), nil
}

func (a *Accounts) identity(r *http.Request) (Identity, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return a.Token(r.Context(), token)
	}
	cookie, err := r.Cookie(Cookie)
	if err != nil {
		return Identity{}, twin.Unauthorized.With("log in, or bring a token")
	}
	i, err := a.Session(r.Context(), cookie.Value)
	if err == nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
		err = i.checkCSRF(r)
	}
	return i, err
}

func (i Identity) checkCSRF(r *http.Request) error {
	brought := r.Header.Get(CSRFHeader)
	if brought == "" {
		brought = r.URL.Query().Get(CSRFField)
	}
	// Other forms may be files, which are not to be read before it is known from whom.
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); brought == "" && media == "application/x-www-form-urlencoded" {
		brought = r.PostFormValue(CSRFField)
	}
	if subtle.ConstantTimeCompare([]byte(brought), []byte(i.CSRF)) != 1 {
		return twin.Forbidden.With("this does not come from a page of your session: load the page again")
	}
	return nil
}

// RemoteHost is the address that a request comes from.
func RemoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
