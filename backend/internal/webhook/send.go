package webhook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

const (
	requestTime = 15 * time.Second
	attempts    = 10              // then it is a dead letter: after six minutes or so
	lookEvery   = 2 * time.Second // for new hooks, and to say how far one is
	leaseLife   = 30 * time.Second
	maxDead     = 1000 // dead letters of a hook; more are lost, since a server that takes nothing must not fill the store
)

// errLost says that another process sends, or that the hook is gone.
var errLost = errors.New("the webhook is another's")

// Run sends for all hooks until ctx is done. Several processes may run on one store: each hook is one's.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	var mine sync.Map // ids of hooks that this process sends for
	node := rand.Text()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		hooks, err := s.List(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.Error("cannot list webhooks", "error", err)
		}
		for _, h := range hooks {
			if _, known := mine.LoadOrStore(h.ID, true); known {
				continue
			}
			wg.Go(func() {
				defer mine.Delete(h.ID)
				if err := s.serve(ctx, h.ID, node); err != nil && ctx.Err() == nil && !errors.Is(err, errLost) {
					s.Log.Error("webhook fails", "webhook", h.ID, "error", err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// serve sends for one hook, if nobody else does, until it is gone.
func (s *Service) serve(ctx context.Context, id, node string) error {
	var hook hookRecord
	err := s.change(ctx, id, func(r *hookRecord) error {
		if r.Node != node && time.Now().Before(r.Lease) {
			return errLost
		}
		r.Node, r.Lease = node, time.Now().Add(leaseLife)
		hook = *r
		return nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	letters, err := s.DeadLetters(ctx, id)
	if err != nil {
		return err
	}
	l := &lane{Service: s, hook: hook, client: newClient(), dead: len(letters)}
	l.position.Store(hook.Position)
	l.trouble.Store(&hook.Trouble)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(l.keep(ctx)) })
	defer wg.Wait()
	defer l.client.CloseIdleConnections()
	err = l.follow(ctx)
	if lost := context.Cause(ctx); lost != nil {
		return lost
	}
	cancel(err)
	return err
}

// A lane is what one hook is told, one after the other.
type lane struct {
	*Service
	hook     hookRecord
	client   *http.Client
	dead     int // letters
	position atomic.Uint64
	trouble  atomic.Pointer[string]
}

// keep says how far the lane is, so that another process can go on there. Some of it may be sent again then.
func (l *lane) keep(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	saved, told, renewed := l.hook.Position, l.hook.Trouble, time.Now()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-ticker.C:
		}
		position, trouble := l.position.Load(), *l.trouble.Load()
		if !done && position == saved && trouble == told && time.Since(renewed) < leaseLife/3 {
			continue
		}
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
		err := l.change(late, l.hook.ID, func(r *hookRecord) error {
			if r.Node != l.hook.Node {
				return errLost
			}
			r.Position, r.Trouble, r.Lease = position, trouble, time.Now().Add(leaseLife)
			if done {
				r.Lease = time.Time{}
			}
			return nil
		})
		cancel()
		if errors.Is(err, fs.ErrNotExist) {
			return errLost
		}
		if err != nil {
			return err
		}
		saved, told, renewed = position, trouble, time.Now()
	}
	return nil
}

// follow sends what happens, in order.
func (l *lane) follow(ctx context.Context) error {
	var lost uint64 // and not told yet
	for event, err := range l.Events.Events(ctx, l.hook.Device, l.hook.Position) {
		if err != nil {
			return err
		}
		lost += event.Lost
		if len(l.hook.Types) == 0 || slices.Contains(l.hook.Types, event.Type) {
			event.Lost, lost = lost, 0
			if err := l.tell(ctx, toldAs(event)); err != nil {
				return err
			}
		}
		l.position.Store(event.Sequence)
	}
	return nil
}

func toldAs(e twin.Event) iothub.Event {
	device, module := twin.Split(e.Device)
	return iothub.Event{ID: strconv.FormatUint(e.Sequence, 10), Type: e.Type, Device: device, Module: module, Time: e.Time, Body: e.Body, Lost: e.Lost}
}

// tell sends one event until it is taken, or puts it aside.
func (l *lane) tell(ctx context.Context, event iothub.Event) error {
	for n := 1; ; n++ {
		again, err := send(ctx, l.client, l.hook, event)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			l.trouble.Store(new(string))
			return nil
		}
		l.trouble.Store(new(err.Error()))
		l.Log.Warn("webhook is not taken", "webhook", l.hook.ID, "event", event.ID, "attempt", n, "error", err)
		if !again || n == attempts {
			return l.bury(ctx, event, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(l.pause(n)):
		}
	}
}

func (s *Service) pause(n int) time.Duration {
	if s.Pause != nil {
		return s.Pause(n)
	}
	return min(time.Minute, time.Second<<(n-1))
}

func (l *lane) bury(ctx context.Context, event iothub.Event, cause error) error {
	if l.dead >= maxDead {
		l.trouble.Store(new(fmt.Sprintf("there are %d dead letters, more are lost: %v", maxDead, cause)))
		l.Log.Error("webhook has too many dead letters, an event is lost", "webhook", l.hook.ID, "event", event.ID)
		return nil
	}
	l.dead++
	d := DeadLetter{l.hook.ID, event, time.Now().UTC(), cause.Error()}
	err := put(ctx, l.Dead, d.id(), d, 0)
	if errors.Is(err, fs.ErrExist) {
		return nil // it was, before this process began
	}
	return err
}

// send makes one request. again tells whether another one may help.
func send(ctx context.Context, client *http.Client, hook hookRecord, event iothub.Event) (again bool, err error) {
	body, err := json.Marshal(event)
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "tranquil-hub")
	if err := iothub.SignWebhook(req.Header, hook.Secret, event.ID, body, time.Now()); err != nil {
		return false, err
	}
	res, err := client.Do(req)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	io.CopyN(io.Discard, res.Body, 4<<10) // so that the connection can be used again
	switch status := res.StatusCode; {
	case status/100 == 2:
		return false, nil
	case status/100 == 4 && status != http.StatusRequestTimeout && status != http.StatusTooEarly && status != http.StatusTooManyRequests:
		return false, fmt.Errorf("the server answers %s", res.Status)
	default:
		return true, fmt.Errorf("the server answers %s", res.Status)
	}
}
