// Package dependants knows what on the device depends on a component, and
// what each wants when that component is updated: to be told, to be stopped
// meanwhile, or to ask for a delay.
//
// They are declared in the agent's configuration and in packages, and they
// may subscribe while they run. Who subscribes hears of every change; the
// component is not stopped before each has said that it is ready, or for some
// seconds. To be stopped, or to delay an update, takes a declaration: whoever
// can open a socket can subscribe. A delay is durable, and bounded.
package dependants

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Config is what a registry works with.
type Config struct {
	// Declared lists the dependants of the configuration and of packages.
	Declared func() []pack.Dependant
	Memory   Memory
	// Again is called when an update need not wait any more.
	Again func(component string)
	Log   *slog.Logger
}

// A Registry has the dependants of all components.
type Registry struct {
	Config
	now func() engine.Moment

	answering   sync.Mutex // held while a deferral is read and written
	mu          sync.Mutex
	subscribers map[*subscriber]bool
	views       map[string]component.Notice // last, by component
}

// A subscriber is a dependant that runs and listens.
type subscriber struct {
	pack.Dependant
	notices chan component.Notice
	update  string // the last one that it was told of
	ready   bool   // it needs the component no more
}

// New returns a registry.
func New(c Config) *Registry {
	return &Registry{Config: c, now: engine.Now, subscribers: map[*subscriber]bool{}, views: map[string]component.Notice{}}
}

// full is the name of a dependant as it is declared: a program that is no
// component may leave out that it is an application.
func full(name string) string {
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	return "application/" + name
}

// backlog is how many notices wait for a subscriber; of more the oldest go.
const backlog = 16

// Subscribe begins to tell a dependant of a component. The first notice says
// how it is now. cancel ends it.
func (r *Registry) Subscribe(d pack.Dependant) (notices <-chan component.Notice, cancel func(), err error) {
	if d.Policy == pack.PolicyStop && !strings.Contains(d.Component, "/") {
		return nil, nil, fmt.Errorf("%q is no component that could be stopped", d.Component)
	}
	d.Component = full(d.Component)
	if err := d.Check(); err != nil {
		return nil, nil, err
	}
	may := r.deferring(d.Of)
	_, mayDelay := may[d.Component]
	if d.Policy == pack.PolicyDefer && !mayDelay || d.Policy == pack.PolicyStop && !slices.Contains(r.Stops(d.Of), d.Component) {
		r.Log.Warn("dependant is told and no more: neither the configuration nor its package says that it may have that policy",
			"component", d.Of, "dependant", d.Component, "policy", d.Policy)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &subscriber{Dependant: d, notices: make(chan component.Notice, backlog)}
	r.subscribers[s] = true
	n, known := r.views[d.Of]
	if !known {
		n = component.Notice{Of: d.Of, State: component.Live}
	}
	s.tell(n)
	if asked, found, err := r.Memory.Deferral(d.Of); err == nil && found && asked.Update == n.Update && n.State == component.Live && !asked.Begun {
		r.ask(s, n, asked, may)
	}
	return s.notices, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.subscribers, s)
	}, nil
}

// tell sends a notice. The registry's mu is held.
func (s *subscriber) tell(n component.Notice) {
	if n.State == component.Leaving && s.update != n.Update {
		s.update, s.ready = n.Update, false
	}
	for {
		select {
		case s.notices <- n:
			return
		default:
			select {
			case <-s.notices:
			default: // it was read meanwhile
			}
		}
	}
}

// Tell takes over what the manager says of a component, and passes on whether
// it serves, if that has changed.
func (r *Registry) Tell(v engine.View) {
	n := component.Notice{Of: v.Component, State: component.Live, Version: v.Serves().Version}
	if p := v.Progress; p != nil {
		n.Update, n.To = p.Update, p.To
		if p.Stale {
			n.State, n.UnavailableUntil = component.Leaving, p.Until
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last, known := r.views[v.Component]
	r.views[v.Component] = n
	if !known || last.State == n.State && last.UnavailableUntil.Equal(n.UnavailableUntil) {
		return
	}
	for s := range r.subscribers {
		if s.Of == v.Component {
			s.tell(n)
		}
	}
}

// Ready says that a dependant needs the component no more during an update.
func (r *Registry) Ready(a component.Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.subscribers {
		if s.Of == a.Of && s.Component == full(a.Name) && s.update == a.Update {
			s.ready = true
		}
	}
}

// Await returns when every subscriber that was told of an update is ready for
// it. When ctx ends, its error names those who are not.
func (r *Registry) Await(ctx context.Context, of, update string) error {
	for {
		busy := r.busy(of, update)
		if len(busy) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %s", strings.Join(busy, ", "))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (r *Registry) busy(of, update string) (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.subscribers {
		if s.Of == of && s.update == update && !s.ready {
			names = append(names, s.Component)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Terms are what the dependants of a component may want when it is updated, by
// name: "tell", "stop", "defer for at most 1h0m0s".
func (r *Registry) Terms(of string) map[string]string {
	terms, may := map[string]string{}, r.deferring(of)
	for _, d := range r.Declared() {
		if d.Of != of {
			continue
		}
		term := d.Policy
		if term == pack.PolicyDefer {
			term = fmt.Sprintf("defer for at most %s", may[d.Component])
		}
		if old := terms[d.Component]; old != "" && !strings.Contains(old, term) {
			term = old + ", " + term
		}
		terms[d.Component] = term
	}
	return terms
}

// Stops lists the components that must not run while this one is away, those
// first that others depend on. Who depends on one that is stopped is stopped
// as well.
func (r *Registry) Stops(of string) (names []string) {
	for queue := []string{of}; len(queue) > 0; queue = queue[1:] {
		for _, d := range r.Declared() {
			if d.Of == queue[0] && d.Policy == pack.PolicyStop && d.Component != of && !slices.Contains(names, d.Component) {
				names, queue = append(names, d.Component), append(queue, d.Component)
			}
		}
	}
	return names
}
