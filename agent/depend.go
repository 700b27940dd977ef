package main

import (
	"maps"
	"slices"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// declared lists the dependants of the configuration, and of the packages that
// are installed.
func (a *agent) declared() []pack.Dependant {
	all := slices.Clone(a.config.Dependants)
	for _, c := range a.config.Components {
		i, err := a.store.Installed(c)
		if err != nil {
			a.log.Error("cannot read what is installed", "component", c, "error", err)
			continue
		}
		all = append(all, a.engine.DependantsOf(c, i)...)
	}
	return all
}

// terms tells what the dependants of a component may want when it is updated.
func (a *agent) terms(component string) map[string]string {
	a.dependence.Lock()
	defer a.dependence.Unlock()
	if a.known == nil {
		a.known = map[string]map[string]string{}
		for _, c := range a.config.Components {
			a.known[c] = a.dependants.Terms(c)
		}
	}
	return a.known[component]
}

// installed has the terms of all components read again after an update of one:
// its new package may say something else of what it depends on.
func (a *agent) installed(component string) {
	a.dependence.Lock()
	before := a.known
	a.known = nil
	a.dependence.Unlock()
	for _, c := range a.config.Components {
		if c != component && !maps.Equal(before[c], a.terms(c)) {
			a.changed(c)
		}
	}
}

// permit asks first who has set when a component may be updated, and then the
// dependants.
func (a *agent) permit(u engine.Update) error {
	if err := a.manager.Permit(u); err != nil || u.Rehearsed == (engine.Moment{}) {
		return err // dependants are asked when all is ready
	}
	return a.dependants.Permit(u)
}

// halted reports whether the update of another component keeps this one
// stopped.
func (a *agent) halted(component string) bool {
	return slices.ContainsFunc(a.config.Components, func(other string) bool {
		r, open, err := a.store.Load(other)
		return err == nil && open && r.Stopped() && r.Holds(component)
	})
}
