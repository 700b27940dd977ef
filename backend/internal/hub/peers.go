package hub

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Pauses of what a hub looks after beside its connections.
const (
	peerPause    = 3 * time.Second
	overduePause = 30 * time.Second
)

// watch ends sessions that are no longer right, and wakes those who wait for a device, wherever it has come to.
func (h *Hub) watch(ctx context.Context) error {
	for id, d := range h.store.Changed(ctx) {
		if d != nil && d.Connection.Connected {
			h.expected.arrived(id)
		}
		if s := h.session(id); s != nil && s.doubtful(d) {
			if err := h.verify(ctx, s); err != nil {
				s.log.Error("cannot look at device", "error", err)
			}
		}
	}
	return nil
}

// doubtful tells whether d, which may be old, says that the session should be no more.
func (s *session) doubtful(d *twin.Device) bool {
	epoch := s.epoch.Load()
	return epoch != 0 && (d == nil || d.Disabled || d.Connection.Epoch > epoch || d.Connection.Epoch == epoch && !d.Connection.Connected)
}

// verify ends a session whose device is deleted or disabled, has connected to another hub, or was given up by one.
func (h *Hub) verify(ctx context.Context, s *session) error {
	d, err := h.store.Device(ctx, s.id)
	switch {
	case errors.Is(err, twin.DeviceNotFound) || err == nil && d.Disabled:
		s.close(errRemoved)
	case err != nil:
		return err
	case s.doubtful(&d):
		s.close(errTakenOver)
	}
	return nil
}

// identities goes through devices and modules.
func (h *Hub) identities(ctx context.Context) iter.Seq2[twin.Device, error] {
	return func(yield func(twin.Device, error) bool) {
		for _, part := range []iter.Seq2[twin.Device, error]{h.store.Devices(ctx), h.store.Modules(ctx, "")} {
			for d, err := range part {
				if !yield(d, err) {
					return
				}
			}
		}
	}
}

// forgetConnections marks devices as disconnected whose hub is gone.
func (h *Hub) forgetConnections(ctx context.Context) error {
	nodes, err := h.store.Nodes(ctx)
	if err != nil {
		return err
	}
	return h.forget(ctx, func(node string) bool { return !nodes[node] })
}

func (h *Hub) forget(ctx context.Context, dead func(node string) bool) error {
	for d, err := range h.identities(ctx) {
		if err != nil {
			return err
		}
		if c := d.Connection; !c.Connected || !dead(c.Node) {
			continue
		}
		if err := h.disconnected(ctx, d.ID, d.Connection); err != nil {
			return err
		}
	}
	return nil
}

// tend looks after the other hubs, and what one of them has to do for all, until ctx is done.
func (h *Hub) tend(ctx context.Context) error {
	ticker := time.NewTicker(peerPause)
	defer ticker.Stop()
	seen, err := h.store.Nodes(ctx)
	if err != nil {
		return err
	}
	if seen[h.store.Node()] {
		h.leads.Store(leader(seen) == h.store.Node())
		h.report(ctx, h.adoptJobs(ctx, func(node string) bool { return !seen[node] }))
	}
	var missing map[string]bool // hubs that were away once
	for tick := 1; ; tick++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		nodes, err := h.store.Nodes(ctx)
		if err != nil || !nodes[h.store.Node()] { // it may be this hub that is cut off
			h.leads.Store(false)
			continue
		}
		var dead map[string]bool
		dead, missing = gone(seen, missing, nodes)
		seen = nodes
		if len(dead) > 0 {
			h.log.Warn("another hub is gone: its devices are taken for disconnected", "nodes", slices.Collect(maps.Keys(dead)))
			h.report(ctx, h.inherit(ctx, func(node string) bool { return dead[node] }))
		}
		h.leads.Store(leader(nodes) == h.store.Node())
		if tick%int(overduePause/peerPause) == 0 && h.leads.Load() {
			h.report(ctx, h.dropOverdue(ctx, ""))
		}
	}
}

// inherit ends what hubs that are gone have left.
func (h *Hub) inherit(ctx context.Context, dead func(node string) bool) error {
	return errors.Join(h.store.Recover(ctx), h.forget(ctx, dead), h.adoptJobs(ctx, dead))
}

func (h *Hub) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		h.log.Error("cannot look after devices", "error", err)
	}
}

// gone answers who has been away twice, and who is away for the first time.
func gone(seen, missing, now map[string]bool) (dead, away map[string]bool) {
	dead, away = map[string]bool{}, map[string]bool{}
	for node := range missing {
		if !now[node] {
			dead[node] = true
		}
	}
	for node := range seen {
		if !now[node] && !dead[node] {
			away[node] = true
		}
	}
	return dead, away
}

// leader is the one hub that does what one has to do for all.
func leader(nodes map[string]bool) string {
	return slices.Min(slices.Collect(maps.Keys(nodes)))
}
