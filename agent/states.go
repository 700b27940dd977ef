package main

// tidy retires saved states that have become too old.
func (a *agent) tidy(component string) {
	_, open, err := a.store.Load(component)
	if err != nil || open || a.repair.Fault() != "" {
		return // an update that is open, or cannot be read, needs them
	}
	installed, err := a.store.Installed(component)
	if err == nil {
		err = a.states.Prune(component, installed.Needs()...)
	}
	if err != nil {
		a.log.Warn("cannot retire saved states", "component", component, "error", err)
	}
}
