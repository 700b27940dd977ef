package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// newUpdateID names an update.
func newUpdateID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// conclude writes the outcome of a job to the twin, and that its wish is answered,
// in one patch; then the job is over.
func (s *session) conclude(ctx context.Context, j *job) (again bool, err error) {
	report := ended(j.outcome(time.Now()))
	last := update(report)
	for _, key := range []string{"back", "bytes", "size", "waitingFor", "waitingUntil"} {
		last[key] = nil
	}
	component := map[string]any{
		"outcome": report, "update": last, "job": nil, "stale": false,
		"answered": map[string]any{"version": orNil(j.Goal.Version), "package": orNil(j.Goal.Package), "attempt": float64(j.Goal.Attempt), "remove": orNil(j.Goal.Remove)},
	}
	switch j.Ending.Result {
	case resultUpdated:
		component["version"], component["schema"] = orNil(j.version(s)), float64(j.Schema)
	case resultRemoved:
		component["version"], component["schema"], component["running"] = nil, nil, false
	}
	patch := map[string]any{"components": map[string]any{j.Component: component}}
	err = s.link.report(ctx, patch)
	if refused, is := errors.AsType[hubError](err); is {
		s.log.Error("the hub does not take an outcome", "component", j.Component, "update", j.ID, "error", refused)
	} else if err != nil {
		s.unsure()
		return false, err
	}
	s.base = iothub.Merge(s.base, patch)
	s.log.Info("update has ended", "component", j.Component, "update", j.ID, "result", j.Ending.Result, "cause", j.Ending.Cause)
	s.job = nil
	return true, nil
}

// version is what the device calls what it has now.
func (j *job) version(s *session) string {
	if t := s.at(j.Object); t != nil {
		return t.view.version
	}
	return j.To
}

// outcome is how the job has ended, in the words of agents.
func (j *job) outcome(now time.Time) objects.Outcome {
	o := objects.Outcome{
		ID: j.ID, Kind: "update", From: j.From, To: j.To, Result: j.Ending.Result, Cause: j.Ending.Cause,
		Step: j.Ending.Step, Cancelled: j.Ending.Cancelled, At: now,
	}
	if j.Goal.Remove != "" {
		o.Kind = "remove"
	}
	if pack.CheckVersion(j.From) == nil && pack.CheckVersion(j.To) == nil && pack.CompareVersions(j.To, j.From) < 0 {
		o.Kind = "rollback"
	}
	if !j.Began.IsZero() && o.Result == resultUpdated { // what was removed is not back
		o.Downtime = now.Sub(j.Began).Seconds()
	}
	if j.Warning != "" {
		o.Warnings = []string{j.Warning}
	}
	return o
}

// show adds the components without an agent to a reported document: as they are, or
// of a device that is away what has become of its update.
func (s *session) show(doc map[string]any, away bool) {
	before, _ := doc["components"].(map[string]any)
	components := maps.Clone(before)
	if components == nil {
		components = map[string]any{}
	}
	for _, t := range s.targets {
		if !away {
			components[t.component] = s.describe(t)
		}
	}
	if j := s.job; j != nil {
		c, _ := components[j.Component].(map[string]any)
		t := s.at(j.Object)
		c = maps.Clone(c)
		if c == nil {
			c = map[string]any{}
		}
		c["update"], c["job"], c["stale"] = j.report(), j.record(), j.Told || j.Vacated && (t == nil || !t.view.active)
		components[j.Component] = c
		if c["stale"] == true && doc["state"] == online {
			doc["state"] = updating
		}
	}
	if len(components) == 0 {
		return
	}
	doc["components"] = components
	for _, t := range s.targets {
		if o := outcomeOf(s.base, t.component); !away && o["result"] == resultInconsistent && !sameVersion(t.view.version, orEmpty(o["to"])) {
			doc["state"] = malfunction
		}
	}
}

// describe is a component as it is, and what the twin remembers of it.
func (s *session) describe(t *target) map[string]any {
	w := s.wants[t.component]
	c := map[string]any{
		"version": orNil(t.view.version), "running": t.view.active, "stale": false, "object": t.path.String(),
		"window": orNil(w.terms.window), "consent": orNil(w.terms.consent),
	}
	components, _ := s.base["components"].(map[string]any)
	known, _ := components[t.component].(map[string]any)
	if outcome, _ := known["outcome"].(map[string]any); outcome != nil {
		c["outcome"], c["update"] = outcome, maps.Clone(outcome)
	}
	if w.keepsWish || w.goal() != (goal{}) {
		c["answered"] = known["answered"] // a wish that was taken back may be wished for again
	}
	if schema, is := schemaOf(s.base, t.component, t.view.version); is && schema > 0 {
		c["schema"] = float64(schema)
	}
	return withoutNils(c)
}

// report is a job as people read it.
func (j *job) report() map[string]any {
	step := j.step()
	at := float64(max(j.position(j.Step), 0))
	u := map[string]any{
		"id": j.ID, "to": orNil(j.To), "phase": step.phase, "step": step.name, "waitingFor": orNil(j.waits.shown()),
	}
	if j.Ending != nil {
		u["step"], u["back"], u["cause"] = j.Ending.Step, true, orNil(j.Ending.Cause)
	}
	if j.Step == "deliver" && j.Way == deliverPush && j.sent > 0 {
		u["bytes"], u["size"] = float64(j.sent), float64(j.Size)
		at += float64(j.sent) / float64(max(j.Size, 1))
	}
	u["progress"] = hundredths(at / float64(len(j.steps())))
	if !j.waits.until.IsZero() {
		u["waitingUntil"] = j.waits.until.Format(time.RFC3339)
	}
	if !j.Until.IsZero() {
		u["unavailableUntil"] = j.Until.UTC().Format(time.RFC3339)
	}
	return withoutNils(u)
}

// refuseBeyond says what of a wish such a device cannot do.
func (s *session) refuseBeyond() {
	for _, t := range s.targets {
		w, name := s.wants[t.component], t.component
		if w.schedule != "" || w.check {
			s.refuse(name, "check: this device cannot look for packages by itself: ask for a version")
		}
		if w.mend.number != 0 {
			s.refuse(name, "repair: this device has no agent that could repair it")
		}
		if w.state != "" && !w.goal().wished() {
			s.refuse(name, "state: this device has no agent that would save any")
		}
	}
}
