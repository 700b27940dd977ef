package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// writeTimeout bounds a write to the embedded server, whose disk may be busy.
const writeTimeout = 10 * time.Second

// entry is what the bucket holds for a device.
type entry struct {
	Device  twin.Device `json:"device"`
	Event   *twin.Event `json:"event,omitempty"` // caused by the last change; nil if it told nothing
	Deleted bool        `json:"deleted,omitempty"`
	Node    string      `json:"node,omitempty"` // that wrote it

	revision uint64 // of the bucket; 0: there is no entry
}

func (e entry) exists() bool { return e.revision != 0 && !e.Deleted }

// key encodes a device id, which may hold what NATS takes for separators and wildcards.
func key(id string) string { return base64.RawURLEncoding.EncodeToString([]byte(id)) }

// Create registers d, and appends event to the log; twin.DeviceExists if its id is taken.
func (s *Store) Create(ctx context.Context, d twin.Device, event *twin.Event) error {
	_, err := s.change(ctx, d.ID, func(e *entry) error {
		if e.exists() {
			return twin.DeviceExists
		}
		e.Device, e.Event, e.Deleted = d, event, false
		return nil
	})
	return err
}

// Device reads one device; twin.DeviceNotFound.
func (s *Store) Device(ctx context.Context, id string) (twin.Device, error) {
	e, err := s.load(ctx, id)
	if err != nil {
		return twin.Device{}, fmt.Errorf("cannot read device %q: %w", id, err)
	}
	if !e.exists() {
		return twin.Device{}, twin.DeviceNotFound
	}
	return e.Device, nil
}

// Devices goes through all devices in the order of their ids; it knows of every change that was answered before.
func (s *Store) Devices(ctx context.Context) iter.Seq2[twin.Device, error] {
	return s.identities(ctx, func(id string) bool { return !strings.Contains(id, "/") })
}

// Modules goes through the modules of a device, or of all with device "", in the order of their ids.
func (s *Store) Modules(ctx context.Context, device string) iter.Seq2[twin.Device, error] {
	return s.identities(ctx, func(id string) bool {
		of, module := twin.Split(id)
		return module != "" && (device == "" || of == device)
	})
}

func (s *Store) identities(ctx context.Context, wanted func(id string) bool) iter.Seq2[twin.Device, error] {
	return func(yield func(twin.Device, error) bool) {
		if err := s.catchUp(ctx); err != nil {
			yield(twin.Device{}, fmt.Errorf("cannot list devices: %w", err))
			return
		}
		for _, d := range s.index.all(wanted) {
			if !yield(d, nil) {
				return
			}
		}
	}
}

// Update changes a device; twin.DeviceNotFound. The callback gets the present state, and again if somebody else was
// faster; it answers the event to append (or nil), or an error that Update hands back with nothing changed.
func (s *Store) Update(ctx context.Context, id string, change func(*twin.Device) (*twin.Event, error)) (twin.Device, error) {
	e, err := s.change(ctx, id, func(e *entry) (err error) {
		if !e.exists() {
			return twin.DeviceNotFound
		}
		e.Event, err = change(&e.Device)
		return err
	})
	return e.Device, err
}

// Delete removes a device and its twin, unless the callback answers an error; twin.DeviceNotFound.
func (s *Store) Delete(ctx context.Context, id string, check func(twin.Device) (*twin.Event, error)) error {
	e, err := s.change(ctx, id, func(e *entry) (err error) {
		if !e.exists() {
			return twin.DeviceNotFound
		}
		e.Event, err = check(e.Device)
		e.Deleted = true
		return err
	})
	if err != nil {
		return err
	}
	return s.purge(ctx, id, e.revision)
}

// purge takes a deleted entry out of the bucket, unless the device has been created anew, and what is kept of it.
func (s *Store) purge(ctx context.Context, id string, revision uint64) error {
	s.room.forget(id)
	if err := s.forgetHistory(ctx, id); err != nil {
		return err
	}
	err := s.devices.Purge(ctx, key(id), jetstream.LastRevision(revision))
	if err != nil && !conflict(err) {
		return fmt.Errorf("cannot purge device %q: %w", id, err)
	}
	return nil
}

var seed = maphash.MakeSeed()

func (s *Store) stripe(id string) *sync.Mutex {
	return &s.stripes[maphash.String(seed, id)%uint64(len(s.stripes))]
}

// change is the one way to write: load, change, swap, tell; again from the start if somebody else was faster.
func (s *Store) change(ctx context.Context, id string, change func(*entry) error) (entry, error) {
	lock := s.stripe(id)
	lock.Lock()
	defer lock.Unlock()
	for {
		e, err := s.load(ctx, id)
		if err != nil {
			return entry{}, fmt.Errorf("cannot read device %q: %w", id, err)
		}
		if err := s.sendUnsent(ctx, id, e); err != nil {
			return entry{}, err
		}
		if err := change(&e); err != nil {
			return entry{}, err
		}
		e.revision, err = s.write(ctx, id, e)
		if conflict(err) {
			continue
		}
		return e, err
	}
}

// write swaps the entry and appends its event. A caller who goes away must not come between the two.
func (s *Store) write(ctx context.Context, id string, e entry) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	var err error
	e.revision, err = s.swap(ctx, id, e)
	if conflict(err) {
		return 0, err
	}
	if err != nil {
		s.unsent.Store(id, true) // it may be written all the same
		return 0, fmt.Errorf("cannot write device %q: %w", id, err)
	}
	return e.revision, s.send(ctx, e, 0)
}

func (s *Store) load(ctx context.Context, id string) (entry, error) {
	value, err := s.devices.Get(ctx, key(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	return decode(value)
}

func (s *Store) swap(ctx context.Context, id string, e entry) (uint64, error) {
	e.Node = s.node
	text, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	if e.revision == 0 {
		return s.devices.Create(ctx, key(id), text)
	}
	msg := &nats.Msg{Subject: "$KV.devices." + key(id), Data: text, Header: nats.Header{}} // as the bucket's Update does
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(e.revision, 10))
	return s.changes.append(ctx, msg)
}

// conflict tells whether err says that the entry is not at the expected revision.
func conflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, jetstream.ErrKeyExists) || ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

func decode(value jetstream.KeyValueEntry) (entry, error) {
	decoder := json.NewDecoder(bytes.NewReader(value.Value()))
	decoder.UseNumber()
	e := entry{revision: value.Revision()}
	if err := decoder.Decode(&e); err != nil {
		return entry{}, fmt.Errorf("entry %q is damaged: %w", value.Key(), err)
	}
	return e, nil
}

// each goes through the entries of the bucket as it is now, those that are being deleted too.
func (s *Store) each(ctx context.Context) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		watcher, err := s.devices.WatchAll(ctx, jetstream.IgnoreDeletes())
		if err != nil {
			yield(entry{}, fmt.Errorf("cannot list devices: %w", err))
			return
		}
		defer watcher.Stop()
		for value := range watcher.Updates() {
			if value == nil { // the end of what was there when the watch began
				return
			}
			e, err := decode(value)
			if !yield(e, err) {
				return
			}
		}
		yield(entry{}, fmt.Errorf("cannot list devices: %w", context.Cause(ctx)))
	}
}
