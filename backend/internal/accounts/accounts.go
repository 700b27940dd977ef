// Package accounts is who may do what in the operator's interfaces: users with roles, their sessions in a browser, and
// API tokens for programs. Passwords, sessions and tokens are kept as hashes only. Whatever it changes is in the audit
// log, and so is every login.
package accounts

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/limit"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Records keep documents of one kind; *store.Records does.
type Records interface {
	Get(ctx context.Context, id string) (text []byte, revision uint64, err error) // fs.ErrNotExist
	Put(ctx context.Context, id string, text []byte, revision uint64) error       // 0: new; fs.ErrExist: somebody was faster
	Delete(ctx context.Context, id string) error
	All(ctx context.Context) iter.Seq2[[]byte, error]
}

// Ledger writes down who changes what before it is done; *audit.Log is one.
type Ledger interface {
	Change(ctx context.Context, action, object string, detail any, do func() error) error
}

// Config is where accounts are kept.
type Config struct {
	Users, Tokens Records
	Sessions      Records // whose documents go after SessionLife
	Ledger        Ledger
	Log           *slog.Logger
	Seal          []byte           // secret that Known is made with, the same for all processes on a store; nil: one of this process
	Clock         func() time.Time // by which attempts to log in are counted; nil: time.Now
}

// Accounts are safe for concurrent use, also by several processes on one store.
type Accounts struct {
	Config
	logins  *limit.Buckets[string] // by network and by user
	known   *limit.Buckets[string] // by where somebody has logged in before
	refused refusals
	hashing chan struct{} // each hash takes memory
}

// Attempts to log in, from one network or for one user: at once, and then a second.
const (
	loginBurst = 10
	loginRate  = 0.1
)

// New makes accounts of what is kept.
func New(c Config) *Accounts {
	if c.Seal == nil {
		c.Seal = []byte(rand.Text())
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	attempts := func() *limit.Buckets[string] { return limit.New[string](loginRate, loginBurst) }
	return &Accounts{Config: c, logins: attempts(), known: attempts(), hashing: make(chan struct{}, 2)}
}

// load reads a document; fs.ErrNotExist.
func load[T any](ctx context.Context, records Records, id string) (document T, revision uint64, err error) {
	text, revision, err := records.Get(ctx, id)
	if err == nil {
		err = json.Unmarshal(text, &document)
	}
	return document, revision, err
}

func save(ctx context.Context, records Records, id string, document any, revision uint64) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	err = records.Put(ctx, id, text, revision)
	if errors.Is(err, fs.ErrExist) && revision != 0 {
		return twin.PreconditionFailed
	}
	return err
}

func all[T any](ctx context.Context, records Records) (documents []T, err error) {
	for text, err := range records.All(ctx) {
		if err != nil {
			return nil, err
		}
		var document T
		if err := json.Unmarshal(text, &document); err != nil {
			return nil, fmt.Errorf("an account is damaged: %w", err)
		}
		documents = append(documents, document)
	}
	return documents, nil
}
