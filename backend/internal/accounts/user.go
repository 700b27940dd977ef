package accounts

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// A User is somebody with a password.
type User struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"` // the password; sessions from before have ended
}

// userRecord is what is kept of a user.
type userRecord struct {
	User
	Password string `json:"password"` // hash
}

var userForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

func checkUser(name string, role Role) error {
	if !userForm.MatchString(name) {
		return twin.ArgumentInvalid.With("a user's name must have 1 to 64 of a-z 0-9 . _ @ -, and begin with a letter or digit")
	}
	if role.Rights() == 0 {
		return twin.ArgumentInvalid.With("there is no role %.40q, only viewer, operator, publisher, admin", role)
	}
	return nil
}

// first is the name of the first user.
const first = "admin"

// First makes the user admin if there is no user at all, and answers its password; "" if there are users.
func (a *Accounts) First(ctx context.Context) (password string, err error) {
	users, err := a.ListUsers(ctx)
	if err != nil || len(users) > 0 {
		return "", err
	}
	password = rand.Text()
	err = a.AddUser(ctx, first, password, Admin)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		return "", nil
	}
	return password, err
}

// Renew makes the user admin an administrator with another password, which it answers, whatever became of that user.
func (a *Accounts) Renew(ctx context.Context) (password string, err error) {
	password = rand.Text()
	err = a.AddUser(ctx, first, password, Admin)
	if !errors.Is(err, fs.ErrExist) {
		return password, err
	}
	if err := a.SetRole(ctx, first, Admin); err != nil {
		return "", err
	}
	return password, a.ResetPassword(ctx, first, password)
}

// ListUsers lists all users by name.
func (a *Accounts) ListUsers(ctx context.Context) ([]User, error) {
	records, err := all[userRecord](ctx, a.Users)
	users := []User{}
	for _, u := range records {
		users = append(users, u.User)
	}
	slices.SortFunc(users, func(x, y User) int { return cmp.Compare(x.Name, y.Name) })
	return users, err
}

// AddUser makes a user; fs.ErrExist.
func (a *Accounts) AddUser(ctx context.Context, name, password string, role Role) error {
	if err := cmp.Or(checkUser(name, role), checkPassword(password)); err != nil {
		return err
	}
	return a.Ledger.Change(ctx, "user.create", name, map[string]any{"role": role}, func() error {
		now := time.Now().UTC()
		u := userRecord{User{name, role, now, now}, a.hash(password)}
		err := save(ctx, a.Users, name, u, 0)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("user %s: %w", name, fs.ErrExist)
		}
		return err
	})
}

// SetRole gives a user another role, at once also in sessions. There is always an administrator.
func (a *Accounts) SetRole(ctx context.Context, name string, role Role) error {
	if err := checkUser(name, role); err != nil {
		return err
	}
	return a.Ledger.Change(ctx, "user.role", name, map[string]any{"role": role}, func() error {
		if role != Admin {
			if err := a.notLast(ctx, name); err != nil {
				return err
			}
		}
		return a.changeUser(ctx, name, func(u *userRecord) { u.Role = role })
	})
}

// SetPassword gives a user another password and ends the sessions from before.
func (a *Accounts) SetPassword(ctx context.Context, name, password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	return a.Ledger.Change(ctx, "user.password", name, nil, func() error {
		hash := a.hash(password)
		return a.changeUser(ctx, name, func(u *userRecord) { u.Password, u.Changed = hash, time.Now().UTC() })
	})
}

// ResetPassword gives somebody else another password: all that the user, or whoever has been the user, has of access
// ends with it, also API tokens.
func (a *Accounts) ResetPassword(ctx context.Context, name, password string) error {
	if err := a.SetPassword(ctx, name, password); err != nil {
		return err
	}
	return a.removeTokens(ctx, name)
}

// verify answers twin.Unauthorized unless that is the user's password.
func (a *Accounts) verify(ctx context.Context, name, password string) (User, error) {
	u, _, err := load[userRecord](ctx, a.Users, name)
	unknown := errors.Is(err, fs.ErrNotExist)
	if unknown {
		u.Password, err = nobody, nil
	}
	if err != nil {
		return User{}, err
	}
	right, err := a.matches(u.Password, password)
	if err == nil && (!right || unknown) {
		err = twin.Unauthorized.With("name or password is wrong")
	}
	return u.User, err
}

// RemoveUser removes a user, whose sessions and tokens end with it. There is always an administrator.
func (a *Accounts) RemoveUser(ctx context.Context, name string) error {
	return a.Ledger.Change(ctx, "user.delete", name, nil, func() error {
		if _, _, err := load[userRecord](ctx, a.Users, name); err != nil {
			return fmt.Errorf("user %s: %w", name, err)
		}
		if err := a.notLast(ctx, name); err != nil {
			return err
		}
		if err := a.removeTokens(ctx, name); err != nil {
			return err
		}
		return a.Users.Delete(ctx, name)
	})
}

func (a *Accounts) notLast(ctx context.Context, name string) error {
	users, err := a.ListUsers(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(users, func(u User) bool { return u.Role == Admin && u.Name != name }) {
		return twin.ArgumentInvalid.With("%s is the last administrator: make another one first", name)
	}
	return nil
}

func (a *Accounts) changeUser(ctx context.Context, name string, change func(*userRecord)) error {
	u, revision, err := load[userRecord](ctx, a.Users, name)
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	change(&u)
	return save(ctx, a.Users, name, u, revision)
}
