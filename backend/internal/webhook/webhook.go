// Package webhook tells applications what happens to devices, by requests to their servers: signed, in order, at least
// once. What a server does not take is tried again for some minutes, and then put aside as a dead letter, so that what
// comes after it is told; from there it can be sent again.
package webhook

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// Records keep documents of one kind; *store.Records does.
type Records interface {
	Get(ctx context.Context, id string) (text []byte, revision uint64, err error) // fs.ErrNotExist
	Put(ctx context.Context, id string, text []byte, revision uint64) error       // 0: new; fs.ErrExist: somebody was faster
	Delete(ctx context.Context, id string) error
	All(ctx context.Context) iter.Seq2[[]byte, error]
}

// Events are what happens; *store.Store has them.
type Events interface {
	Position(ctx context.Context) (uint64, error)
	Events(ctx context.Context, device string, after uint64) iter.Seq2[twin.Event, error]
}

// Ledger writes down who changes what before it is done; *audit.Log is one.
type Ledger interface {
	Change(ctx context.Context, action, object string, detail any, do func() error) error
}

// A Hook is one server that wants to be told.
type Hook struct {
	ID      string    `json:"id"`
	URL     string    `json:"url"`              // https, or http on this machine
	Types   []string  `json:"types,omitempty"`  // of events, as in iothub.Event; none: all
	Device  string    `json:"device,omitempty"` // of one device only; "": of all
	Created time.Time `json:"created"`
	Trouble string    `json:"trouble,omitempty"` // why the last request has failed; "": it has not
}

// hookRecord is what is kept of a hook. Its secret cannot be kept as a hash: it signs.
type hookRecord struct {
	Hook
	Secret   string    `json:"secret"`
	Position uint64    `json:"position"` // of the last event that is dealt with
	Node     string    `json:"node"`     // the process that sends
	Lease    time.Time `json:"lease"`    // until then no other does
}

// A DeadLetter is an event that a server has not taken.
type DeadLetter struct {
	Hook    string       `json:"hook"`
	Event   iothub.Event `json:"event"`
	At      time.Time    `json:"at"` // when it was put aside
	Problem string       `json:"problem"`
}

func (d DeadLetter) id() string { return d.Hook + "." + d.Event.ID }

// DeadLetterLife is how long dead letters are kept.
const DeadLetterLife = 30 * 24 * time.Hour

// Service sends.
type Service struct {
	Hooks  Records
	Dead   Records // whose documents go after DeadLetterLife
	Events Events
	Ledger Ledger
	Log    *slog.Logger
	// Pause is how long to wait after the n-th request in vain; nil: 1 s, then twice as long each time, up to a minute.
	Pause func(n int) time.Duration
}

// maxHooks bounds how many servers are told: each has a connection, and reads all events.
const maxHooks = 100

// Add makes a hook, which is told what happens from now on, and answers its secret (iothub.VerifyWebhook), which nobody
// can be shown again.
func (s *Service) Add(ctx context.Context, address string, types []string, device string) (Hook, string, error) {
	if err := checkURL(address); err != nil {
		return Hook{}, "", err
	}
	for _, kind := range types {
		if !slices.Contains(twin.EventTypes, kind) {
			return Hook{}, "", twin.ArgumentInvalid.With("there is no type %.40q of events, only %v", kind, twin.EventTypes)
		}
	}
	hooks, err := s.List(ctx)
	if err != nil {
		return Hook{}, "", err
	}
	if len(hooks) >= maxHooks {
		return Hook{}, "", twin.Throttled.With("there are %d webhooks already", maxHooks)
	}
	position, err := s.Events.Position(ctx)
	if err != nil {
		return Hook{}, "", err
	}
	key := make([]byte, 32)
	rand.Read(key)
	r := hookRecord{Hook: Hook{ID: rand.Text()[:10], URL: address, Types: types, Device: device, Created: time.Now().UTC()}, Position: position}
	r.Secret = iothub.NewWebhookSecret(key)
	err = s.Ledger.Change(ctx, "webhook.create", r.ID, r.Hook, func() error { return put(ctx, s.Hooks, r.ID, r, 0) })
	return r.Hook, r.Secret, err
}

// checkURL wants what is sent to be for the server alone.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return twin.ArgumentInvalid.With("%.200q is no address such as https://example.org/tranquil", address)
	}
	ip := net.ParseIP(u.Hostname())
	if local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback(); u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return twin.ArgumentInvalid.With("the address of a webhook must begin with https://; http:// only on this machine")
	}
	return nil
}

// List lists all hooks, the oldest first.
func (s *Service) List(ctx context.Context) ([]Hook, error) {
	hooks := []Hook{}
	for r, err := range all[hookRecord](ctx, s.Hooks) {
		if err != nil {
			return nil, err
		}
		hooks = append(hooks, r.Hook)
	}
	slices.SortFunc(hooks, func(a, b Hook) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return hooks, nil
}

// Remove ends a hook, with its dead letters; fs.ErrNotExist.
func (s *Service) Remove(ctx context.Context, id string) error {
	r, _, err := get[hookRecord](ctx, s.Hooks, id)
	if err != nil {
		return fmt.Errorf("webhook %.40q: %w", id, err)
	}
	return s.Ledger.Change(ctx, "webhook.delete", id, r.Hook, func() error {
		letters, err := s.DeadLetters(ctx, id)
		if err != nil {
			return err
		}
		for _, d := range letters {
			err = errors.Join(err, s.Dead.Delete(ctx, d.id()))
		}
		return errors.Join(err, s.Hooks.Delete(ctx, id))
	})
}

// DeadLetters lists those of a hook, the oldest first.
func (s *Service) DeadLetters(ctx context.Context, hook string) ([]DeadLetter, error) {
	letters := []DeadLetter{}
	for d, err := range all[DeadLetter](ctx, s.Dead) {
		if err != nil {
			return nil, err
		}
		if d.Hook == hook {
			letters = append(letters, d)
		}
	}
	slices.SortFunc(letters, func(a, b DeadLetter) int {
		return cmp.Or(cmp.Compare(len(a.Event.ID), len(b.Event.ID)), cmp.Compare(a.Event.ID, b.Event.ID))
	}) // they are numbers
	return letters, nil
}

// Resend sends a dead letter once more; it stays one if that fails. fs.ErrNotExist.
func (s *Service) Resend(ctx context.Context, hook, event string) error {
	d, _, err := get[DeadLetter](ctx, s.Dead, DeadLetter{Hook: hook, Event: iothub.Event{ID: event}}.id())
	if err != nil {
		return fmt.Errorf("dead letter %.40q: %w", event, err)
	}
	r, _, err := get[hookRecord](ctx, s.Hooks, hook)
	if err != nil {
		return fmt.Errorf("webhook %.40q: %w", hook, err)
	}
	return s.Ledger.Change(ctx, "webhook.resend", hook, map[string]any{"event": event}, func() error {
		if _, err := send(ctx, newClient(), r, d.Event); err != nil {
			return twin.BadAnswer.With("it is not taken: %v", err)
		}
		return s.Dead.Delete(ctx, d.id())
	})
}

func get[T any](ctx context.Context, records Records, id string) (document T, revision uint64, err error) {
	text, revision, err := records.Get(ctx, id)
	if err == nil {
		err = json.Unmarshal(text, &document)
	}
	return document, revision, err
}

func put(ctx context.Context, records Records, id string, document any, revision uint64) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return records.Put(ctx, id, text, revision)
}

func all[T any](ctx context.Context, records Records) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for text, err := range records.All(ctx) {
			var document T
			if err == nil {
				err = json.Unmarshal(text, &document)
			}
			if !yield(document, err) || err != nil {
				return
			}
		}
	}
}

// newClient is for servers of others: they cannot have us wait, nor send us elsewhere.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       requestTime,
		Transport:     &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// change changes what is kept of a hook; again if somebody was faster. fs.ErrNotExist if it is gone.
func (s *Service) change(ctx context.Context, id string, change func(*hookRecord) error) error {
	for {
		r, revision, err := get[hookRecord](ctx, s.Hooks, id)
		if err == nil {
			err = change(&r)
		}
		if err != nil {
			return err
		}
		if err = put(ctx, s.Hooks, id, r, revision); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}
