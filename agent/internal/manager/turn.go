package manager

import (
	"context"
	"time"
)

// turnLength is how often a download looks whether others wait for it.
const turnLength = 30 * time.Second

// Turn gives the download of a component a context that ends when something else
// on the device waits to be done: that may be hours away from what is fetched over
// a bad link. Downloads of several components take turns.
func (m *Manager) Turn(ctx context.Context, component string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		look := time.NewTicker(turnLength)
		defer look.Stop()
		for {
			select {
			case <-look.C:
			case <-ctx.Done():
				return
			}
			if m.pressed(component) {
				cancel()
			}
		}
	}()
	return ctx, cancel
}

// pressed reports whether something else than the update of a component can be
// done.
func (m *Manager) pressed(component string) bool {
	if m.called(component) {
		return true
	}
	all, now := m.standings(), time.Now()
	for i := range all {
		if all[i].Component == component {
			all[i].NotBefore = now.Add(turnLength)
		}
	}
	_, some := Next(all, now)
	return some
}

// called reports whether somebody has asked for what only the loop does. A repair
// of the component itself may be what downloads.
func (m *Manager) called(component string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := 0
	if _, is := m.mends[component]; is {
		own = 1
	}
	return m.queued > 0 || m.repair != nil || len(m.asked) > 0 || len(m.mends) > own
}
