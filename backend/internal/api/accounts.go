package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Login is a name and a password, and what the token is to be.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
	Known    string `json:"known,omitempty"` // what the last login of this user has answered, for attempts of one's own
	NewToken
}

// NewToken is a token to be.
type NewToken struct {
	Name   string         `json:"name"`            // what it is for
	Rights accounts.Right `json:"rights"`          // some of yours
	Hours  int            `json:"hours,omitempty"` // that it is good for; 0 is 24, at most 366 days
}

// TokenText is a token, whose text is shown once.
type TokenText struct {
	accounts.Token
	Text string `json:"token"` // for Authorization: Bearer
}

// LoggedIn is the token of a login.
type LoggedIn struct {
	TokenText
	Known string `json:"known"` // for the next login
}

func login(a *API, r *http.Request, in Login) (LoggedIn, error) {
	from := accounts.Origin{Host: accounts.RemoteHost(r), Known: in.Known}
	u, err := a.Accounts.Authenticate(r.Context(), in.User, in.Password, from)
	if err != nil {
		return LoggedIn{}, err
	}
	i := accounts.Identity{User: u.Name, Rights: u.Role.Rights()}
	in.Rights = cmp.Or(in.Rights, i.Rights)
	token, err := addToken(a, r.WithContext(audit.By(r.Context(), i.Actor(from.Host))), i, in.NewToken)
	return LoggedIn{token, a.Accounts.Known(u.Name)}, err
}

func addToken(a *API, r *http.Request, by accounts.Identity, in NewToken) (TokenText, error) {
	t, text, err := a.Accounts.AddToken(r.Context(), by, in.Name, in.Rights, time.Duration(cmp.Or(in.Hours, 24))*time.Hour)
	return TokenText{t, text}, err
}

func createToken(a *API, r *http.Request, in NewToken) (TokenText, error) {
	return addToken(a, r, accounts.Of(r.Context()), in)
}

// Me is who asks.
type Me struct {
	User   string         `json:"user"`
	Rights accounts.Right `json:"rights"`
	Token  string         `json:"token,omitempty"` // its name, if it is one
}

func me(_ *API, r *http.Request) (Me, error) {
	i := accounts.Of(r.Context())
	return Me{i.User, i.Rights, i.Token}, nil
}

// Tokens are those of a user.
type Tokens struct {
	Tokens []accounts.Token `json:"tokens"`
}

func listTokens(a *API, r *http.Request) (Tokens, error) {
	tokens, err := a.Accounts.ListTokens(r.Context(), accounts.Of(r.Context()).User)
	return Tokens{tokens}, err
}

func deleteToken(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Accounts.RemoveToken(r.Context(), accounts.Of(r.Context()), r.PathValue("token"))
}

// NewPassword is a password to be, in place of the present one.
type NewPassword struct {
	Present string `json:"present"`
	New     string `json:"new"` // 12 to 256 bytes
}

func changePassword(a *API, r *http.Request, in NewPassword) (nothing, error) {
	user := accounts.Of(r.Context()).User
	return nothing{}, a.Accounts.ChangePassword(r.Context(), user, in.Present, in.New, accounts.OriginOf(r))
}

// Users are all.
type Users struct {
	Users []accounts.User `json:"users"`
}

func listUsers(a *API, r *http.Request) (Users, error) {
	users, err := a.Accounts.ListUsers(r.Context())
	return Users{users}, err
}

// NewUser is a user to be.
type NewUser struct {
	Name     string        `json:"name"` // 1 to 64 of a-z 0-9 . _ @ -
	Password string        `json:"password"`
	Role     accounts.Role `json:"role"` // "viewer", "operator", "publisher" or "admin"
}

func createUser(a *API, r *http.Request, in NewUser) (nothing, error) {
	return nothing{}, a.Accounts.AddUser(r.Context(), in.Name, in.Password, in.Role)
}

// UserChange is what is to become of a user; what is empty stays.
type UserChange struct {
	Password string        `json:"password,omitempty"`
	Role     accounts.Role `json:"role,omitempty"`
}

func changeUser(a *API, r *http.Request, in UserChange) (nothing, error) {
	name := r.PathValue("user")
	if in == (UserChange{}) {
		return nothing{}, twin.ArgumentInvalid.With("nothing to change: give role or password")
	}
	if in.Role != "" {
		if err := a.Accounts.SetRole(r.Context(), name, in.Role); err != nil {
			return nothing{}, err
		}
	}
	if in.Password == "" {
		return nothing{}, nil
	}
	return nothing{}, a.Accounts.ResetPassword(r.Context(), name, in.Password)
}

func deleteUser(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Accounts.RemoveUser(r.Context(), r.PathValue("user"))
}

// Changes are entries of the audit log.
type Changes struct {
	Entries []audit.Entry `json:"entries"`
}

func listChanges(a *API, r *http.Request) (Changes, error) {
	before, err := number(r, "before", 0)
	if err != nil {
		return Changes{}, err
	}
	limit, err := number(r, "limit", 100)
	if err != nil {
		return Changes{}, err
	}
	entries, err := a.Audit.Entries(r.Context(), uint64(before), min(limit, maxList))
	return Changes{entries}, err
}

// Verification is what became of the audit log.
type Verification struct {
	Entries uint64 `json:"entries"`           // that are as they were written
	Hash    string `json:"hash"`              // of the newest of them, to be compared with what was noted elsewhere
	Problem string `json:"problem,omitempty"` // what is wrong with the next
}

func verifyChanges(a *API, r *http.Request) (Verification, error) {
	n, hash, err := a.Audit.Verify(r.Context())
	if err != nil {
		return Verification{max(n, 1) - 1, hash, err.Error()}, nil
	}
	return Verification{Entries: n, Hash: hash}, nil
}
