package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// maxOutcomes is how many changes with outcomes are kept of a device; the oldest go first.
const maxOutcomes = 200

// sinceMark is where the stream of the history says what it has of the time when outcomes were only in the event log:
// all since that log's oldest event, RFC 3339; "": all there was.
const sinceMark = "tranquil-since"

func history(id string) string { return "history." + key(id) }

// provideHistory makes the stream of outcomes, and carries over what the event log of an earlier version has.
func (s *Store) provideHistory(ctx context.Context, bytes int64) (err error) {
	cfg := jetstream.StreamConfig{
		Name: "history", Subjects: []string{"history.*"}, MaxMsgsPerSubject: maxOutcomes, MaxBytes: bytes, AllowAtomicPublish: true, Duplicates: onceWithin,
	}
	known, err := s.js.Stream(ctx, cfg.Name)
	if err == nil {
		cfg.Metadata = known.CachedInfo().Config.Metadata
	} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	if s.history, err = s.stream(ctx, cfg); err != nil {
		return err
	}
	if _, carried := cfg.Metadata[sinceMark]; carried {
		return nil
	}
	since, err := s.carryOver(ctx)
	if err != nil {
		return fmt.Errorf("cannot carry over the history: %w", err)
	}
	cfg.Metadata = map[string]string{sinceMark: since}
	s.history, err = s.stream(ctx, cfg)
	return err
}

// carryOver puts the outcomes of the event log into the history, those that are there already once more.
func (s *Store) carryOver(ctx context.Context) (since string, err error) {
	info, err := s.events.Info(ctx)
	if err != nil {
		return "", err
	}
	if info.State.FirstSeq > 1 && info.State.Msgs > 0 {
		since = info.State.FirstTime.Format(time.RFC3339Nano)
	}
	return since, s.readAll(ctx, s.events, allChanges, func(msg jetstream.Msg) error {
		event, err := decodeEvent(msg)
		if err != nil {
			return err
		}
		return s.remember(ctx, event, msg.Headers().Get(revisionHeader))
	})
}

// remember keeps the outcomes that an event tells of; mark is what the log knows the event by.
func (s *Store) remember(ctx context.Context, event twin.Event, mark string) error {
	outcomes, err := event.Outcomes()
	if err != nil {
		s.log.Warn("an event is not understood", "device", event.Device, "error", err)
	}
	if len(outcomes) == 0 {
		return nil
	}
	text, err := json.Marshal(outcomes)
	if err != nil {
		return fmt.Errorf("cannot encode outcome: %w", err)
	}
	msg := &nats.Msg{Subject: history(event.Device), Data: text, Header: nats.Header{}}
	msg.Header.Set(revisionHeader, mark)
	msg.Header.Set(jetstream.MsgIDHeader, key(event.Device)+"."+mark)
	if _, err := s.outcomes.append(ctx, msg); err != nil {
		return fmt.Errorf("cannot append outcome: %w", err)
	}
	return nil
}

// remembered are the outcomes of one change.
type remembered struct {
	mark     mark
	outcomes []twin.Outcome
}

// told is what an outcome is known by: a device may tell one twice, and so does a crash between the history and the log.
type told struct{ component, id, result string }

// History answers how the updates of a device have ended, the newest first; twin.DeviceNotFound.
func (s *Store) History(ctx context.Context, id string) (h twin.History, err error) {
	device, err := s.Device(ctx, id)
	if err != nil {
		return h, err
	}
	var all []remembered
	err = s.readAll(ctx, s.history, history(id), func(msg jetstream.Msg) error {
		one := remembered{mark: parseMark(msg.Headers().Get(revisionHeader))}
		all = append(all, one)
		return json.Unmarshal(msg.Data(), &all[len(all)-1].outcomes)
	})
	if err != nil {
		return h, fmt.Errorf("cannot read history of %q: %w", id, err)
	}
	slices.SortStableFunc(all, func(a, b remembered) int {
		return cmp.Or(cmp.Compare(a.mark.revision, b.mark.revision), cmp.Compare(a.mark.index, b.mark.index))
	})
	h.Outcomes = []twin.Outcome{}
	known := map[told]bool{}
	for _, one := range all {
		for _, o := range one.outcomes {
			if is := (told{o.Component, o.ID, o.Result}); !known[is] {
				known[is], h.Outcomes = true, append(h.Outcomes, o)
			}
		}
	}
	slices.Reverse(h.Outcomes)
	h.Since, err = s.whole(ctx, device, h.Outcomes, len(all) >= maxOutcomes)
	return h, err
}

// whole answers since when the history of a device has all there was; zero: always.
func (s *Store) whole(ctx context.Context, device twin.Device, outcomes []twin.Outcome, full bool) (since time.Time, err error) {
	info, err := s.history.Info(ctx)
	if err != nil {
		return since, fmt.Errorf("cannot read history: %w", err)
	}
	since, _ = time.Parse(time.RFC3339Nano, info.Config.Metadata[sinceMark]) // "" is always
	later := func(t time.Time) {
		if t.After(since) {
			since = t
		}
	}
	if info.State.Bytes > uint64(info.Config.MaxBytes)/10*9 { // the oldest of all devices have gone, or soon will
		later(info.State.FirstTime)
	}
	if full && len(outcomes) > 0 {
		later(outcomes[len(outcomes)-1].At)
	}
	if !since.After(device.Registered()) {
		return time.Time{}, nil
	}
	return since, nil
}

// forgetHistory removes that of a device that is gone.
func (s *Store) forgetHistory(ctx context.Context, id string) error {
	if err := s.history.Purge(ctx, jetstream.WithPurgeSubject(history(id))); err != nil {
		return fmt.Errorf("cannot purge history of %q: %w", id, err)
	}
	return nil
}
