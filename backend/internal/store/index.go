package store

import (
	"cmp"
	"context"
	"encoding/base64"
	"iter"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// index is all entries in memory, as a watch of the bucket tells them. Its devices are shared: nobody changes one.
type index struct {
	mu        sync.Mutex
	devices   map[string]twin.Device
	sorted    []string      // ids; nil if one has come or gone
	revision  uint64        // of the bucket, up to which it is current
	moved     chan struct{} // closed, and made anew, when that grows
	followers map[*follower]struct{}
}

// follower is somebody who wants to know which devices have changed.
type follower struct {
	changed map[string]struct{}
	wake    chan struct{} // holds one if changed has something
}

func newIndex() *index {
	return &index{devices: map[string]twin.Device{}, moved: make(chan struct{}), followers: map[*follower]struct{}{}}
}

// feedIndex keeps the index current until ctx is done.
func (s *Store) feedIndex(ctx context.Context) {
	watcher, err := s.devices.WatchAll(ctx)
	if err != nil {
		s.log.Error("cannot watch devices", "error", err)
		return
	}
	defer watcher.Stop()
	for value := range watcher.Updates() {
		if value == nil { // the end of what was there when the watch began
			continue
		}
		if value.Operation() != jetstream.KeyValuePut {
			id, _ := base64.RawURLEncoding.DecodeString(value.Key())
			s.index.set(entry{Device: twin.Device{ID: string(id)}, Deleted: true, revision: value.Revision()})
			continue
		}
		e, err := decode(value)
		if err != nil {
			s.log.Error("a device is left out of lists and queries", "error", err)
		}
		s.index.set(e)
	}
	if ctx.Err() == nil {
		s.log.Error("devices are no longer watched")
	}
}

func (i *index) set(e entry) {
	i.mu.Lock()
	defer i.mu.Unlock()
	id := e.Device.ID
	_, known := i.devices[id]
	if e.exists() && id != "" {
		i.devices[id] = e.Device
	} else {
		delete(i.devices, id)
	}
	if _, knows := i.devices[id]; knows != known {
		i.sorted = nil
	}
	i.revision = e.revision
	close(i.moved)
	i.moved = make(chan struct{})
	for f := range i.followers {
		f.changed[id] = struct{}{}
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// catchUp waits until the index knows whatever was written before.
func (s *Store) catchUp(ctx context.Context) error {
	info, err := s.entries.Info(ctx)
	if err != nil {
		return err
	}
	for {
		s.index.mu.Lock()
		at, moved := s.index.revision, s.index.moved
		s.index.mu.Unlock()
		if at >= info.State.LastSeq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// all is the devices whose ids are wanted, in the order of these.
func (i *index) all(wanted func(id string) bool) []twin.Device {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sorted == nil {
		i.sorted = make([]string, 0, len(i.devices))
		for id := range i.devices {
			i.sorted = append(i.sorted, id)
		}
		slices.SortFunc(i.sorted, cmp.Compare)
	}
	var devices []twin.Device
	for _, id := range i.sorted {
		if wanted(id) {
			devices = append(devices, i.devices[id])
		}
	}
	return devices
}

// Changed answers devices and modules that have changed, whoever changed them, first all that there are; nil if one is
// gone. Of several changes of one it may tell only the last. It ends when ctx is done.
func (s *Store) Changed(ctx context.Context) iter.Seq2[string, *twin.Device] {
	return func(yield func(string, *twin.Device) bool) {
		f := s.index.follow()
		defer s.index.forget(f)
		for {
			select {
			case <-f.wake:
			case <-ctx.Done():
				return
			}
			for id, d := range s.index.take(f) {
				if !yield(id, d) {
					return
				}
			}
		}
	}
}

func (i *index) follow() *follower {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := &follower{changed: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	for id := range i.devices {
		f.changed[id] = struct{}{}
	}
	f.wake <- struct{}{}
	i.followers[f] = struct{}{}
	return f
}

func (i *index) forget(f *follower) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.followers, f)
}

// take answers what has changed for a follower since it took last.
func (i *index) take(f *follower) map[string]*twin.Device {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := make(map[string]*twin.Device, len(f.changed))
	for id := range f.changed {
		taken[id] = nil
		if d, ok := i.devices[id]; ok {
			taken[id] = &d
		}
	}
	clear(f.changed)
	return taken
}
