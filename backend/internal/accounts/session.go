package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/places"
)

// SessionLife is how long one stays logged in: a working day.
const SessionLife = 12 * time.Hour

// An Identity is who makes a request, and what may be done in it.
type Identity struct {
	User   string
	Rights Right
	Token  string // name of the API token; "" in a session
	CSRF   string // what a form of the session has to bring along

	session string    // its id
	token   string    // its id
	expires time.Time // of the token
}

// Actor is the identity as the audit log has it.
func (i Identity) Actor(from string) audit.Actor {
	via := "session"
	switch {
	case i.Token != "":
		via = "token " + i.Token
	case i.session == "":
		via = "password"
	}
	return audit.Actor{Who: i.User, Via: via, From: from}
}

// May answers twin.Forbidden unless the identity has all these rights.
func (i Identity) May(needed Right) error {
	if i.Rights&needed != needed {
		return twin.Forbidden.With("this needs the right to %s", needed&^i.Rights)
	}
	return nil
}

type sessionRecord struct {
	User    string    `json:"user"`
	CSRF    string    `json:"csrf"`
	Began   time.Time `json:"began"`
	Expires time.Time `json:"expires"`
}

// secretID is what a secret of 128 bits and more is kept under: who reads the store cannot use it.
func secretID(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Authenticate answers the user of that name and password; twin.Unauthorized, or twin.Throttled after too many attempts
// from one network or for one user, where that user is not known from. In vain are only those that fail.
func (a *Accounts) Authenticate(ctx context.Context, name, password string, from Origin) (User, error) {
	giveBack, err := a.admit(name, from)
	if err != nil {
		if n := a.refused.count(networkOf(from.Host), a.Clock()); n > 0 {
			a.Log.Warn("too many attempts to log in", "user", name[:min(len(name), 64)], "from", from.Host, "refusedSinceLast", n)
		}
		return User{}, err
	}
	u, err := a.verify(ctx, name, password)
	if err != nil {
		a.Log.Warn("login is refused", "user", name[:min(len(name), 64)], "from", from.Host, "cause", err)
		return User{}, err
	}
	giveBack()
	return u, nil
}

// networkOf is what counts as one stranger, who may have many addresses.
func networkOf(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return places.NetworkOf(addr).String()
	}
	return host
}

// ChangePassword gives a user another password for the present one, as Authenticate permits; twin.Forbidden if it is wrong.
func (a *Accounts) ChangePassword(ctx context.Context, name, present, password string, from Origin) error {
	_, err := a.Authenticate(ctx, name, present, from)
	if errors.Is(err, twin.Unauthorized) {
		return twin.Forbidden.With("the present password is wrong")
	}
	if err != nil {
		return err
	}
	return a.SetPassword(ctx, name, password)
}

// Login begins a session, as Authenticate permits, and answers its secret, for a cookie.
func (a *Accounts) Login(ctx context.Context, name, password string, from Origin) (secret string, err error) {
	u, err := a.Authenticate(ctx, name, password, from)
	if err != nil {
		return "", err
	}
	secret = rand.Text() + rand.Text()
	now := time.Now().UTC()
	s := sessionRecord{u.Name, rand.Text(), now, now.Add(SessionLife)}
	ctx = audit.By(ctx, Identity{User: u.Name}.Actor(from.Host))
	err = a.Ledger.Change(ctx, "session.begin", u.Name, nil, func() error {
		return save(ctx, a.Sessions, secretID(secret), s, 0)
	})
	return secret, err
}

// Session answers who has begun the session, with the rights of now; twin.Unauthorized if it has ended.
func (a *Accounts) Session(ctx context.Context, secret string) (Identity, error) {
	id := secretID(secret)
	s, _, err := load[sessionRecord](ctx, a.Sessions, id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && time.Now().After(s.Expires) {
		return Identity{}, twin.Unauthorized.With("the session has ended: log in")
	}
	if err != nil {
		return Identity{}, err
	}
	u, _, err := load[userRecord](ctx, a.Users, s.User)
	if errors.Is(err, fs.ErrNotExist) || err == nil && s.Began.Before(u.Changed) {
		return Identity{}, twin.Unauthorized.With("the session has ended: log in")
	}
	return Identity{User: u.Name, Rights: u.Role.Rights(), CSRF: s.CSRF, session: id}, err
}

// Logout ends the session of an identity.
func (a *Accounts) Logout(ctx context.Context, i Identity) error {
	if i.session == "" {
		return nil
	}
	return a.Sessions.Delete(ctx, i.session)
}
