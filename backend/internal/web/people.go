package web

import (
	"strconv"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

type accountPage struct {
	Tokens []accounts.Token
	Rights []string // that a token may have
	New    string   // the text of a token that was just made
}

func (w *Web) showAccount(v *visit) error { return w.accountPage(v, "") }

func (w *Web) accountPage(v *visit, text string) error {
	tokens, err := w.Accounts.ListTokens(v.Context(), v.Me.User)
	if err != nil {
		return err
	}
	return v.show("account", "Your account", accountPage{tokens, v.Me.Rights.Names(), text})
}

func (w *Web) changePassword(v *visit) error {
	if v.PostFormValue("new") != v.PostFormValue("repeated") {
		return twin.ArgumentInvalid.With("the new password is not the same both times")
	}
	err := w.Accounts.ChangePassword(v.Context(), v.Me.User, v.PostFormValue("present"), v.PostFormValue("new"), accounts.OriginOf(v.Request))
	if err != nil {
		return err
	}
	return v.leave("/login", "saved") // all sessions have ended
}

func (w *Web) createToken(v *visit) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	rights, err := accounts.ParseRights(v.PostForm["right"])
	if err != nil {
		return err
	}
	days, err := strconv.Atoi(v.PostFormValue("days"))
	if err != nil {
		return twin.ArgumentInvalid.With("days must be a number")
	}
	_, text, err := w.Accounts.AddToken(v.Context(), v.Me, v.PostFormValue("name"), rights, time.Duration(days)*24*time.Hour)
	if err != nil {
		return err
	}
	return w.accountPage(v, text)
}

func (w *Web) endToken(v *visit) error {
	if err := w.Accounts.RemoveToken(v.Context(), v.Me, v.PathValue("token")); err != nil {
		return err
	}
	return v.leave("/account", "ended")
}

func (w *Web) listUsers(v *visit) error {
	users, err := w.Accounts.ListUsers(v.Context())
	if err != nil {
		return err
	}
	return v.show("users", "Users", map[string]any{"Users": users, "Roles": accounts.Roles})
}

func (w *Web) createUser(v *visit) error {
	if err := w.Accounts.AddUser(v.Context(), v.PostFormValue("user"), v.PostFormValue("password"), accounts.Role(v.PostFormValue("role"))); err != nil {
		return err
	}
	return v.leave("/users", "saved")
}

// changeUser sets the role, and the password if there is one.
func (w *Web) changeUser(v *visit) error {
	name, password := v.PathValue("user"), v.PostFormValue("password")
	if role := v.PostFormValue("role"); role != "" {
		if err := w.Accounts.SetRole(v.Context(), name, accounts.Role(role)); err != nil {
			return err
		}
	}
	if password != "" {
		if err := w.Accounts.ResetPassword(v.Context(), name, password); err != nil {
			return err
		}
	}
	return v.leave("/users", "saved")
}

func (w *Web) deleteUser(v *visit) error {
	if err := w.Accounts.RemoveUser(v.Context(), v.PathValue("user")); err != nil {
		return err
	}
	return v.leave("/users", "deleted")
}

type auditPage struct {
	Entries []audit.Entry
	Checked bool   // all of them were read
	Number  uint64 // of all entries
	Hash    string // of the newest
	Problem string
	Before  uint64 // next page; 0: none
}

// perLog is how many entries of the audit log a page has.
const perLog = 100

func (w *Web) listChanges(v *visit) error {
	before, _ := strconv.ParseUint(v.FormValue("before"), 10, 64) // what is no number is the newest
	entries, err := w.Audit.Entries(v.Context(), before, perLog)
	if err != nil {
		return err
	}
	page := auditPage{Entries: entries, Checked: v.FormValue("verify") != ""} // which takes long after some years
	if page.Checked {
		if page.Number, page.Hash, err = w.Audit.Verify(v.Context()); err != nil {
			page.Problem = err.Error()
		}
	}
	if n := len(entries); n == perLog && entries[n-1].Number > 1 {
		page.Before = entries[n-1].Number
	}
	return v.show("audit", "Audit log", page)
}
