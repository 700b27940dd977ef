package dependants

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A Memory keeps what dependants have asked for; it is durable.
type Memory interface {
	Deferral(component string) (engine.Deferral, bool, error)
	SetDeferral(component string, d engine.Deferral) error
}

const (
	defaultMax = time.Hour       // of a dependant that does not say how long it may delay
	ceiling    = 24 * time.Hour  // whatever it says
	answerTime = 3 * time.Second // for a dependant to answer in
	maxReason  = 200             // bytes
)

// Permit returns nil if an update may begin, or what it waits for.
func (r *Registry) Permit(u engine.Update) error {
	r.answering.Lock()
	defer r.answering.Unlock()
	d, found, err := r.Memory.Deferral(u.Component)
	if err != nil {
		return err
	}
	may := r.deferring(u.Component)
	known := found && d.Update == u.ID
	if !known && len(may) == 0 || known && d.Begun {
		return nil
	}
	if !known {
		d = engine.Deferral{Update: u.ID, Asked: r.now(), Wall: time.Now()}
		if err := r.Memory.SetDeferral(u.Component, d); err != nil {
			return err
		}
		r.askAll(u, d, may)
	}
	if wait, waits := waitFor(d, r.elapsed(d), may); waits {
		return wait
	}
	d.Begun = true
	return r.Memory.SetDeferral(u.Component, d)
}

// waitFor is what an update waits for, if it does.
func waitFor(d engine.Deferral, elapsed time.Duration, may map[string]time.Duration) (engine.Wait, bool) {
	var longest time.Duration
	what := ""
	for _, name := range slices.Sorted(maps.Keys(d.By)) {
		if by := d.By[name]; min(by.Until, by.Max) > max(longest, elapsed) {
			longest, what = min(by.Until, by.Max), fmt.Sprintf("%s, which asked for a delay: %s", name, cmp.Or(by.Reason, "it gave no reason"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(may)) {
		if _, answered := d.By[name]; !answered && what == "" && elapsed < answerTime {
			longest, what = answerTime, "an answer of "+name
		}
	}
	// The time is rounded: it is told, and must not change each time.
	return engine.Wait{For: what, Until: time.Now().Add(longest - elapsed).Round(time.Second).UTC(), Poll: true}, what != ""
}

// elapsed is how long ago the dependants were asked. No change of the wall
// clock moves it, except across a reboot.
func (r *Registry) elapsed(d engine.Deferral) time.Duration {
	now := r.now()
	if now.Boot == d.Asked.Boot {
		return now.At - d.Asked.At
	}
	return max(now.At, time.Since(d.Wall))
}

// deferring lists who may delay, and for how long at most: as the configuration
// and packages say, the shortest if they say it twice.
func (r *Registry) deferring(of string) map[string]time.Duration {
	may := map[string]time.Duration{}
	for _, d := range r.Declared() {
		if d.Of == of && d.Policy == pack.PolicyDefer {
			most := min(cmp.Or(time.Duration(d.MaxDelay), defaultMax), ceiling)
			if known, twice := may[d.Component]; !twice || most < known {
				may[d.Component] = most
			}
		}
	}
	return may
}

// askAll asks all who may delay an update whether it may begin.
func (r *Registry) askAll(u engine.Update, d engine.Deferral, may map[string]time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.views[u.Component]
	n.Of, n.Update, n.To = u.Component, u.ID, u.To.Version
	for s := range r.subscribers {
		if s.Of == u.Component {
			r.ask(s, n, d, may)
		}
	}
}

// ask asks one of them, who hears until when it may delay. The registry's mu
// is held.
func (r *Registry) ask(s *subscriber, n component.Notice, d engine.Deferral, may map[string]time.Duration) {
	most, allowed := may[s.Component]
	if s.Policy != pack.PolicyDefer || !allowed {
		return
	}
	n.State, n.UnavailableUntil = component.Asking, time.Time{}
	n.Latest = time.Now().Add(most - r.elapsed(d)).UTC()
	s.tell(n)
}

// Defer takes a dependant's answer. The update begins when nobody delays it
// any more, or at the latest when until says.
func (r *Registry) Defer(a component.Answer) (until time.Time, err error) {
	length, err := time.ParseDuration(a.For)
	if err != nil || length < 0 {
		return until, fmt.Errorf("%q is no duration such as 10m", a.For)
	}
	a.Name = full(a.Name)
	r.answering.Lock()
	defer r.answering.Unlock()
	most, may := r.deferring(a.Of)[a.Name]
	if !may {
		return until, fmt.Errorf("%s may not delay updates of %s: neither the configuration nor its package says so", a.Name, a.Of)
	}
	d, found, err := r.Memory.Deferral(a.Of)
	if err != nil {
		return until, err
	}
	if !found || d.Update != a.Update || d.Begun {
		return until, errors.New("there is no such update, or it has begun")
	}
	elapsed := r.elapsed(d)
	by := engine.Delay{Max: most, Reason: strings.ToValidUTF8(a.Reason[:min(len(a.Reason), maxReason)], "")}
	if length > 0 {
		by.Until = elapsed + min(length, ceiling) // or the sum might be none
	}
	d.By = maps.Clone(d.By)
	if d.By == nil {
		d.By = map[string]engine.Delay{}
	}
	d.By[a.Name] = by
	if err := r.Memory.SetDeferral(a.Of, d); err != nil {
		return until, err
	}
	r.Log.Info("dependant answered", "component", a.Of, "dependant", a.Name, "update", a.Update, "for", length, "reason", by.Reason)
	r.Again(a.Of)
	return time.Now().Add(min(by.Until, by.Max) - elapsed).UTC(), nil
}
