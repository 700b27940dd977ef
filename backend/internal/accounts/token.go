package accounts

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// A Token lets a program in, in the name of a user.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"` // what it is for
	User    string    `json:"user"`
	Rights  Right     `json:"rights"` // of those that the user has
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

type tokenRecord struct {
	Token
	Secret string `json:"secret"`       // its hash
	By     string `json:"by,omitempty"` // id of the token that has made it
}

// tokenPrefix tells people and scanners of leaked secrets what a token is.
const tokenPrefix = "tranquil_"

// MaxTokenLife bounds how long a token is good for.
const MaxTokenLife = 366 * 24 * time.Hour

// AddToken makes a token with some of the rights of an identity, and answers its text, which nobody can be shown again.
// What a token makes ends with it at the latest, and when it is ended, so that one that was stolen cannot be made to last.
func (a *Accounts) AddToken(ctx context.Context, by Identity, name string, rights Right, life time.Duration) (Token, string, error) {
	switch {
	case name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return Token{}, "", twin.ArgumentInvalid.With("a token must have a name of 1 to 64 bytes, that says what it is for")
	case rights == 0:
		return Token{}, "", twin.ArgumentInvalid.With("a token must have rights: some of %s", by.Rights)
	case life <= 0 || life > MaxTokenLife:
		return Token{}, "", twin.ArgumentInvalid.With("a token must expire within %v", MaxTokenLife)
	}
	if err := by.May(rights); err != nil {
		return Token{}, "", err
	}
	now := time.Now().UTC()
	t := tokenRecord{Token: Token{rand.Text()[:10], name, by.User, rights, now, now.Add(life)}}
	if t.By = by.token; t.By != "" && by.expires.Before(t.Expires) {
		t.Expires = by.expires
	}
	secret := rand.Text()
	t.Secret = secretID(secret)
	err := a.Ledger.Change(ctx, "token.create", t.ID, t.Token, func() error { return save(ctx, a.Tokens, t.ID, t, 0) })
	return t.Token, tokenPrefix + t.ID + "_" + secret, err
}

// Token answers whom a token's text stands for, with no more rights than its user has now; twin.Unauthorized.
func (a *Accounts) Token(ctx context.Context, text string) (Identity, error) {
	unknown := twin.Unauthorized.With("the token is unknown or has expired")
	id, secret, ok := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "_")
	if !ok {
		return Identity{}, unknown
	}
	t, _, err := load[tokenRecord](ctx, a.Tokens, id)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, unknown
	}
	if err != nil {
		return Identity{}, err
	}
	if subtle.ConstantTimeCompare([]byte(secretID(secret)), []byte(t.Secret)) != 1 || time.Now().After(t.Expires) {
		return Identity{}, unknown
	}
	if err := a.stands(ctx, t.By); err != nil {
		return Identity{}, err
	}
	u, _, err := load[userRecord](ctx, a.Users, t.User)
	if errors.Is(err, fs.ErrNotExist) || err == nil && t.Created.Before(u.Created) { // of another user of that name
		return Identity{}, unknown
	}
	return Identity{User: u.Name, Rights: t.Rights & u.Role.Rights(), Token: t.Name, token: t.ID, expires: t.Expires}, err
}

// stands answers twin.Unauthorized if a token, or one of those that it was made by, was ended.
func (a *Accounts) stands(ctx context.Context, id string) error {
	for id != "" {
		t, _, err := load[tokenRecord](ctx, a.Tokens, id)
		if errors.Is(err, fs.ErrNotExist) {
			return twin.Unauthorized.With("the token that has made this one was ended")
		}
		if err != nil {
			return err
		}
		id = t.By
	}
	return nil
}

// ListTokens lists the tokens of a user, or of all with "", the newest first.
func (a *Accounts) ListTokens(ctx context.Context, user string) ([]Token, error) {
	records, err := all[tokenRecord](ctx, a.Tokens)
	tokens := []Token{}
	for _, t := range records {
		if user == "" || t.User == user {
			tokens = append(tokens, t.Token)
		}
	}
	slices.SortFunc(tokens, func(x, y Token) int { return cmp.Or(y.Created.Compare(x.Created), cmp.Compare(x.ID, y.ID)) })
	return tokens, err
}

// RemoveToken ends a token: one's own, or anybody's for who may administer; fs.ErrNotExist. A token ends none that may
// more than itself: twin.Forbidden.
func (a *Accounts) RemoveToken(ctx context.Context, by Identity, id string) error {
	t, _, err := load[tokenRecord](ctx, a.Tokens, id)
	if err == nil && t.User != by.User && by.May(Administer) != nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("token %.64q: %w", id, err)
	}
	if by.Token != "" {
		if err := by.May(t.Rights); err != nil {
			return err
		}
	}
	return a.Ledger.Change(ctx, "token.delete", id, t.Token, func() error { return a.Tokens.Delete(ctx, id) })
}

func (a *Accounts) removeTokens(ctx context.Context, user string) error {
	tokens, err := a.ListTokens(ctx, user)
	for _, t := range tokens {
		err = errors.Join(err, a.Tokens.Delete(ctx, t.ID))
	}
	return err
}
