package accounts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/limit"
	"github.com/tranquil-iot/tranquil/backend/internal/store"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

const password = "correct horse battery"

// open makes accounts on a store of their own, and the context of their administrator.
func open(t *testing.T) (*accounts.Accounts, *audit.Log, context.Context) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	records := func(kind string) accounts.Records {
		r, err := s.Records(t.Context(), kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	journal, err := s.Journal(t.Context(), "audit")
	if err != nil {
		t.Fatal(err)
	}
	ledger := audit.New(journal, log)
	now := time.Now() // however long a hash takes, no attempt is given back meanwhile
	a := accounts.New(accounts.Config{
		Users: records("users"), Tokens: records("tokens"), Sessions: records("sessions"), Ledger: ledger, Log: log, Clock: func() time.Time { return now },
	})
	return a, ledger, audit.By(t.Context(), audit.Actor{Who: "test"})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestUsers goes through the life of accounts: the first administrator, others, roles that count at once, and the last
// administrator, who stays.
func TestUsers(t *testing.T) {
	t.Parallel()
	a, ledger, ctx := open(t)
	first, err := a.First(ctx)
	if err != nil || len(first) < 20 {
		t.Fatal(first, err)
	}
	if again, err := a.First(ctx); again != "" || err != nil {
		t.Error("there is a second first", again, err)
	}
	for _, bad := range []struct {
		name, password string
		role           accounts.Role
	}{
		{"Ann", password, accounts.Viewer},
		{"", password, accounts.Viewer},
		{"ann", "short", accounts.Viewer},
		{"ann", strings.Repeat("x", 257), accounts.Viewer},
		{"ann", password, "root"},
		{"ann", password, ""},
	} {
		if err := a.AddUser(ctx, bad.name, bad.password, bad.role); !errors.Is(err, twin.ArgumentInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	must(t, a.AddUser(ctx, "ann", password, accounts.Viewer))
	if err := a.AddUser(ctx, "ann", password, accounts.Admin); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	secret, err := a.Login(ctx, "ann", password, accounts.Origin{Host: "192.0.2.1"})
	must(t, err)
	if i, err := a.Session(ctx, secret); err != nil || i.Rights != accounts.Read || i.User != "ann" {
		t.Error(i, err)
	}
	must(t, a.SetRole(ctx, "ann", accounts.Operator))
	if i, err := a.Session(ctx, secret); err != nil || i.Rights != accounts.Read|accounts.Operate {
		t.Error(i, err)
	}
	must(t, a.SetPassword(ctx, "ann", password+"2"))
	if _, err := a.Session(ctx, secret); !errors.Is(err, twin.Unauthorized) {
		t.Error("a session outlives the password", err)
	}
	for _, err := range []error{a.SetRole(ctx, "admin", accounts.Viewer), a.RemoveUser(ctx, "admin")} {
		if !errors.Is(err, twin.ArgumentInvalid) {
			t.Error("the last administrator goes", err)
		}
	}
	must(t, a.SetRole(ctx, "ann", accounts.Admin))
	must(t, a.SetRole(ctx, "admin", accounts.Viewer))
	renewed, err := a.Renew(ctx)
	must(t, err)
	secret, err = a.Login(ctx, "admin", renewed, accounts.Origin{Host: "192.0.2.1"})
	must(t, err)
	if i, err := a.Session(ctx, secret); err != nil || i.May(accounts.Administer) != nil {
		t.Error(i, err)
	}
	must(t, a.RemoveUser(ctx, "ann"))
	if err := a.RemoveUser(ctx, "ann"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if n, _, err := ledger.Verify(ctx); err != nil || n < 8 {
		t.Error(n, err)
	}
	entries, err := ledger.Entries(ctx, 0, 100)
	must(t, err)
	if text, err := json.Marshal(entries); err != nil || strings.Contains(string(text), password) || strings.Contains(string(text), "argon2id") {
		t.Error("the audit log has a password", err)
	}
}

// TestSecrets: no secret can be read from the store.
func TestSecrets(t *testing.T) {
	t.Parallel()
	a, _, ctx := open(t)
	must(t, a.AddUser(ctx, "ann", password, accounts.Admin))
	session, err := a.Login(ctx, "ann", password, accounts.Origin{Host: "192.0.2.1"})
	must(t, err)
	i, err := a.Session(ctx, session)
	must(t, err)
	_, token, err := a.AddToken(ctx, i, "nightly", accounts.Read, time.Hour)
	must(t, err)
	kept := 0
	for _, records := range []accounts.Records{a.Users, a.Sessions, a.Tokens} {
		for text, err := range records.All(ctx) {
			must(t, err)
			kept++
			for _, secret := range []string{password, session, token, token[strings.LastIndex(token, "_")+1:]} {
				if strings.Contains(string(text), secret) {
					t.Errorf("%s is kept", text)
				}
			}
		}
	}
	if kept != 3 {
		t.Error(kept)
	}
}

// TestLogin: whoever guesses is slowed down, by address and by user, and others are not.
func TestLogin(t *testing.T) {
	t.Parallel()
	a, _, ctx := open(t)
	must(t, a.AddUser(ctx, "ann", password, accounts.Viewer))
	must(t, a.AddUser(ctx, "bob", password, accounts.Viewer))
	for range 15 { // those that succeed do not count
		_, err := a.Login(ctx, "ann", password, accounts.Origin{Host: "192.0.2.1"})
		must(t, err)
	}
	refused, throttled := 0, 0
	for i := range 15 {
		switch _, err := a.Login(ctx, []string{"ann", "nobody"}[i%2], "wrong", accounts.Origin{Host: "192.0.2.1"}); {
		case errors.Is(err, twin.Unauthorized):
			refused++
		case errors.Is(err, twin.Throttled):
			throttled++
		default:
			t.Error(err)
		}
	}
	if refused < 10 || refused > 13 || throttled == 0 {
		t.Error(refused, throttled)
	}
	if _, err := a.Login(ctx, "bob", password, accounts.Origin{Host: "192.0.2.1"}); !errors.Is(err, twin.Throttled) {
		t.Error("that address may go on", err)
	}
	if _, err := a.Login(ctx, "bob", password, accounts.Origin{Host: "192.0.2.2"}); err != nil {
		t.Error("another address may not", err)
	}
	for i := range 15 {
		a.Login(ctx, "bob", "wrong", accounts.Origin{Host: fmt.Sprint("198.51.100.", i)})
	}
	if _, err := a.Login(ctx, "bob", password, accounts.Origin{Host: "198.51.100.200"}); !errors.Is(err, twin.Throttled) {
		t.Error("many addresses may guess for one user", err)
	}
}

// TestStrangers: who has all the addresses of a network is one stranger, and who is locked out
// by a name takes from nobody else what is needed to log in.
func TestStrangers(t *testing.T) {
	t.Parallel()
	a, _, ctx := open(t)
	must(t, a.AddUser(ctx, "ann", password, accounts.Viewer))
	throttled := func(user, from string) bool {
		_, err := a.Login(ctx, user, "wrong", accounts.Origin{Host: from})
		return errors.Is(err, twin.Throttled)
	}
	held := 0
	for i := range 15 {
		if throttled(fmt.Sprint("user", i), fmt.Sprintf("2001:db8::%x", i)) {
			held++
		}
	}
	if held == 0 {
		t.Error("each address of a network may go on")
	}
	for i := range limit.MaxSources + 15 {
		throttled("zzz", fmt.Sprintf("2001:db8:0:%x::", i+1))
	}
	for i := range 12 {
		throttled(fmt.Sprint("other", i), "2001:db8:1::")
	}
	if _, err := a.Login(ctx, "ann", password, accounts.Origin{Host: "198.51.100.1"}); err != nil {
		t.Error("strangers lock others out", err)
	}
}

// TestKnown: nobody keeps a user out of where that user has logged in before, and who has been there cannot guess more
// than others.
func TestKnown(t *testing.T) {
	t.Parallel()
	a, _, ctx := open(t)
	must(t, a.AddUser(ctx, "ann", password, accounts.Viewer))
	must(t, a.AddUser(ctx, "bob", password, accounts.Viewer))
	here := "192.0.2.1"
	for i := range 30 { // for ann from everywhere, and for anybody from here
		a.Login(ctx, "ann", "wrong", accounts.Origin{Host: fmt.Sprint("198.51.100.", i)})
		a.Login(ctx, fmt.Sprint("user", i), "wrong", accounts.Origin{Host: here})
	}
	anns, bobs := a.Known("ann"), a.Known("bob")
	for name, test := range map[string]struct {
		known string
		fails bool
	}{
		"known":          {anns, false},
		"unknown":        {"", true},
		"of another":     {bobs, true},
		"without a seal": {strings.Split(anns, ".")[0] + ".", true},
		"of nobody":      {"." + strings.Split(anns, ".")[1], true},
	} {
		if _, err := a.Login(ctx, "ann", password, accounts.Origin{Host: here, Known: test.known}); errors.Is(err, twin.Throttled) != test.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
	held := 0
	for range 15 {
		if _, err := a.Login(ctx, "ann", "wrong", accounts.Origin{Host: "192.0.2.9", Known: anns}); errors.Is(err, twin.Throttled) {
			held++
		}
	}
	if held == 0 {
		t.Error("who has been here guesses as he likes")
	}
	if _, err := a.Login(ctx, "ann", password, accounts.Origin{Host: here, Known: a.Known("ann")}); err != nil {
		t.Error("one place is held back by another", err)
	}
}

// TestTokens: a token may what it says and what its user may, until it expires, is removed, or its user is.
func TestTokens(t *testing.T) {
	t.Parallel()
	a, _, ctx := open(t)
	must(t, a.AddUser(ctx, "root", password, accounts.Admin))
	must(t, a.AddUser(ctx, "ann", password, accounts.Operator))
	ann := accounts.Identity{User: "ann", Rights: accounts.Operator.Rights()}
	root := accounts.Identity{User: "root", Rights: accounts.Admin.Rights()}
	for _, bad := range []struct {
		name   string
		rights accounts.Right
		life   time.Duration
		err    error
	}{
		{"", accounts.Read, time.Hour, twin.ArgumentInvalid},
		{"x", 0, time.Hour, twin.ArgumentInvalid},
		{"x", accounts.Read, 0, twin.ArgumentInvalid},
		{"x", accounts.Read, accounts.MaxTokenLife + 1, twin.ArgumentInvalid},
		{"x", accounts.Publish, time.Hour, twin.Forbidden},
	} {
		if _, _, err := a.AddToken(ctx, ann, bad.name, bad.rights, bad.life); !errors.Is(err, bad.err) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	kept, text, err := a.AddToken(ctx, ann, "nightly", accounts.Read|accounts.Operate, time.Hour)
	must(t, err)
	if i, err := a.Token(ctx, text); err != nil || i.Rights != accounts.Read|accounts.Operate || i.User != "ann" || i.Token != "nightly" {
		t.Error(i, err)
	}
	for _, wrong := range []string{"", "tranquil_", text + "x", strings.ToLower(text), "tranquil_" + kept.ID + "_", strings.TrimPrefix(text, "tranquil_"+kept.ID)} {
		if _, err := a.Token(ctx, wrong); !errors.Is(err, twin.Unauthorized) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	must(t, a.SetRole(ctx, "ann", accounts.Viewer))
	if i, err := a.Token(ctx, text); err != nil || i.Rights != accounts.Read {
		t.Error("a token may more than its user", i, err)
	}
	_, brief, err := a.AddToken(ctx, ann, "brief", accounts.Read, time.Nanosecond)
	must(t, err)
	if _, err := a.Token(ctx, brief); !errors.Is(err, twin.Unauthorized) {
		t.Error("a token outlives its time", err)
	}
	if err := a.RemoveToken(ctx, accounts.Identity{User: "bob", Rights: accounts.Read}, kept.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Error("others remove it", err)
	}
	short, text2, err := a.AddToken(ctx, ann, "short", accounts.Read, time.Hour)
	must(t, err)
	thief, err := a.Token(ctx, text2)
	must(t, err)
	if child, _, err := a.AddToken(ctx, thief, "long", accounts.Read, accounts.MaxTokenLife); err != nil || child.Expires.After(short.Expires) {
		t.Error("a token outlives the one that made it", child, err)
	}
	_, grandchild, err := a.AddToken(ctx, thief, "made by it", accounts.Read, time.Minute)
	must(t, err)
	if _, err := a.Token(ctx, grandchild); err != nil {
		t.Error(err)
	}
	if err := a.RemoveToken(ctx, thief, kept.ID); !errors.Is(err, twin.Forbidden) {
		t.Error("a token ends one that may more", err)
	}
	must(t, a.RemoveToken(ctx, root, short.ID))
	if _, err := a.Token(ctx, grandchild); !errors.Is(err, twin.Unauthorized) {
		t.Error("what a token has made outlives its end", err)
	}
	must(t, a.RemoveToken(ctx, root, kept.ID))
	_, before, err := a.AddToken(ctx, ann, "before", accounts.Read, time.Hour)
	must(t, err)
	must(t, a.SetPassword(ctx, "ann", password+"2"))
	if _, err := a.Token(ctx, before); err != nil {
		t.Error("one's own new password ends one's tokens", err)
	}
	must(t, a.ResetPassword(ctx, "ann", password))
	if _, err := a.Token(ctx, before); !errors.Is(err, twin.Unauthorized) {
		t.Error("a token is good after somebody was shut out", err)
	}
	_, last, err := a.AddToken(ctx, ann, "last", accounts.Read, time.Hour)
	must(t, err)
	must(t, a.RemoveUser(ctx, "ann"))
	for _, gone := range []string{text, last} {
		if _, err := a.Token(ctx, gone); !errors.Is(err, twin.Unauthorized) {
			t.Error("it is still good", err)
		}
	}
	if tokens, err := a.ListTokens(ctx, ""); err != nil || len(tokens) != 0 {
		t.Error(tokens, err)
	}
	_, late, err := a.AddToken(ctx, ann, "made as the user went", accounts.Read, time.Hour)
	must(t, err)
	must(t, a.AddUser(ctx, "ann", password, accounts.Admin))
	if _, err := a.Token(ctx, late); !errors.Is(err, twin.Unauthorized) {
		t.Error("it is good for another user of that name", err)
	}
}

// TestIdentify: what comes with a session alone may look, and only our own pages may change anything.
func TestIdentify(t *testing.T) {
	t.Parallel()
	a, _, ctx := open(t)
	must(t, a.AddUser(ctx, "ann", password, accounts.Operator))
	secret, err := a.Login(ctx, "ann", password, accounts.Origin{Host: "192.0.2.1"})
	must(t, err)
	session, err := a.Session(ctx, secret)
	must(t, err)
	_, token, err := a.AddToken(ctx, session, "t", accounts.Read, time.Hour)
	must(t, err)
	form := url.Values{accounts.CSRFField: {session.CSRF}}.Encode()
	cookie, bearer := accounts.Cookie+"="+secret, "Bearer "+token
	for name, test := range map[string]struct {
		method, query, body string
		header              map[string]string
		err                 error
	}{
		"nobody":                 {"GET", "", "", nil, twin.Unauthorized},
		"a wrong session":        {"GET", "", "", map[string]string{"Cookie": accounts.Cookie + "=x"}, twin.Unauthorized},
		"a session that looks":   {"GET", "", "", map[string]string{"Cookie": cookie}, nil},
		"from another's page":    {"POST", "", "", map[string]string{"Cookie": cookie}, twin.Forbidden},
		"with a wrong secret":    {"POST", "", "csrf=x", map[string]string{"Cookie": cookie}, twin.Forbidden},
		"by our form":            {"POST", "", form, map[string]string{"Cookie": cookie}, nil},
		"by our query":           {"DELETE", "?" + form, "", map[string]string{"Cookie": cookie}, nil},
		"by our script":          {"POST", "", "", map[string]string{"Cookie": cookie, accounts.CSRFHeader: session.CSRF}, nil},
		"a token":                {"POST", "", "", map[string]string{"Authorization": bearer}, nil},
		"a wrong token":          {"GET", "", "", map[string]string{"Authorization": "Bearer x", "Cookie": cookie}, twin.Unauthorized},
		"another kind of secret": {"GET", "", "", map[string]string{"Authorization": "Basic " + token}, twin.Unauthorized},
	} {
		r := httptest.NewRequest(test.method, "/x"+test.query, strings.NewReader(test.body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for key, value := range test.header {
			r.Header.Set(key, value)
		}
		ctx, err := a.Identify(r)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
		if err == nil && accounts.Of(ctx).User != "ann" {
			t.Errorf("%s: %+v", name, accounts.Of(ctx))
		}
	}
	must(t, a.Logout(ctx, session))
	if _, err := a.Session(ctx, secret); !errors.Is(err, twin.Unauthorized) {
		t.Error("the session outlives its end", err)
	}
	if c := accounts.NewCookie(secret); !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
		t.Error(c)
	}
}

func FuzzToken(f *testing.F) {
	f.Add("tranquil_ABCDEFGHIJ_KLMNOP")
	f.Add("_")
	f.Fuzz(func(t *testing.T, text string) {
		a := accounts.New(accounts.Config{Tokens: nothing{}})
		if _, err := a.Token(context.Background(), text); !errors.Is(err, twin.Unauthorized) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// nothing has no document.
type nothing struct{ accounts.Records }

func (nothing) Get(context.Context, string) ([]byte, uint64, error) { return nil, 0, fs.ErrNotExist }
