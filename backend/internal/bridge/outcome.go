package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A device keeps the outcomes of its updates until they are acknowledged, and
// shows the oldest. The bridge writes it to the twin, and acknowledges only
// when the hub has it. So each reaches the twin, in order; and once: whether
// the oldest is there already stands in the twin itself, as `outcome`.

// collect empties the outboxes of the device's components. What comes after
// an outcome is told after it.
func (s *session) collect(ctx context.Context) error {
	s.mu.Lock()
	d, ready := s.device, s.observed()
	instances := s.values.components()
	s.mu.Unlock()
	if !listens(d) || !ready {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(instances)) {
		if err := s.collectFrom(ctx, d, name, instances[name]); err != nil {
			return err
		}
	}
	return nil
}

// collectFrom reads the outbox of one component. A notification only says that
// there may be something in it: it may be an old one.
func (s *session) collectFrom(ctx context.Context, d *lwm2m.Device, name string, instance uint16) error {
	path := lwm2m.NewPath(objects.ComponentUpdateID, instance)
	for s.hasOutcome(instance) {
		now, err := d.Read(ctx, path.Child(objects.ComponentOutcome))
		if err != nil {
			return err
		}
		if len(now) == 0 {
			return fmt.Errorf("the device does not show the outcome of %s that it has", name)
		}
		if s.take(d, now); !s.hasOutcome(instance) {
			return nil
		}
		o, err := objects.DecodeOutcome(now[0].Value.Text())
		if err != nil {
			s.refused["components/"+name+"/outcome"] = err.Error()
			return nil
		}
		if err := s.deliver(ctx, name, instance, o); err != nil {
			return err
		}
		acknowledge := lwm2m.Record{Path: path.Child(objects.ComponentAcknowledge), Value: lwm2m.String(o.ID)}
		if err := d.Write(ctx, path, lwm2m.Update, []lwm2m.Record{acknowledge}); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) hasOutcome(instance uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.device != nil && s.values.component(instance, objects.ComponentOutcome).Text() != ""
}

// deliver writes an outcome to the twin, unless it is there.
func (s *session) deliver(ctx context.Context, name string, instance uint16, o objects.Outcome) error {
	was := outcomeOf(s.base, name)
	if was["id"] == o.ID && was["result"] == o.Result {
		return nil
	}
	report := ended(o)
	component := map[string]any{"outcome": report, "update": update(report)}
	s.mu.Lock()
	maps.Copy(component, s.values.since(instance, o))
	s.mu.Unlock()
	patch := map[string]any{"components": map[string]any{name: component}}
	err := s.link.report(ctx, patch)
	var refused hubError
	if errors.As(err, &refused) {
		s.log.Error("the hub does not take an outcome", "component", name, "update", o.ID, "result", o.Result, "error", err)
	} else if err != nil {
		s.unsure()
		return err
	}
	s.base = iothub.Merge(s.base, patch)
	s.log.Info("update has ended", "component", name, "update", o.ID, "result", o.Result, "cause", o.Cause)
	return nil
}

// since is what the device says of a component, if nothing has begun since the
// update that o is of: who reads how it has ended is not to read that the version
// before it runs, or that the component is away.
func (v values) since(instance uint16, o objects.Outcome) map[string]any {
	now, _ := v.describe(instance)
	if u, _ := now["update"].(map[string]any); u["id"] != o.ID || u["result"] != o.Result {
		return nil
	}
	all := map[string]any{}
	for _, property := range []string{"version", "schema", "running", "stale"} {
		all[property] = now[property] // or nil, and then it goes
	}
	return all
}

// ended is an outcome as a twin has it: with every property, nil for those
// that must go.
func ended(o objects.Outcome) map[string]any {
	report := map[string]any{
		"id": o.ID, "kind": orNil(o.Kind), "from": orNil(o.From), "to": orNil(o.To), "result": o.Result, "cause": orNil(o.Cause), "step": orNil(o.Step),
		"downtime": thousandths(o.Downtime), "predicted": nil, "predictionError": nil, "rest": nil, "restReason": nil, "at": nil, "stopped": nil, "missed": nil, "cancelled": nil, "warnings": nil,
	}
	if o.Predicted > 0 {
		report["predicted"] = thousandths(o.Predicted)
	}
	if o.Predicted > 0 && o.Downtime > 0 {
		report["predictionError"] = thousandths(o.Downtime - o.Predicted)
	}
	if o.Rest != "" {
		rest, reason, _ := strings.Cut(o.Rest, ": ")
		report["rest"], report["restReason"] = clip(rest), orNil(reason)
	}
	if !o.At.IsZero() {
		report["at"] = o.At.UTC().Format(time.RFC3339Nano)
	}
	if len(o.Stopped) > 0 {
		report["stopped"] = clip(strings.Join(o.Stopped, ", "))
	}
	if o.Cancelled {
		report["cancelled"] = true
	}
	if len(o.Warnings) > 0 {
		report["warnings"] = clip(strings.Join(o.Warnings, "; "))
	}
	if o.Missed > 0 {
		report["missed"] = float64(o.Missed)
	}
	return report
}

// update is an outcome in the place of the update in progress, whose own
// properties go.
func update(report map[string]any) map[string]any {
	u := map[string]any{"phase": nil, "progress": nil, "unavailableUntil": nil}
	maps.Copy(u, report)
	return u
}

func thousandths(f float64) float64 { return math.Round(1000*f) / 1000 }

// outcomeOf is the last outcome of a component that the twin has.
func outcomeOf(reported map[string]any, name string) map[string]any {
	components, _ := reported["components"].(map[string]any)
	component, _ := components[name].(map[string]any)
	outcome, _ := component["outcome"].(map[string]any)
	return outcome
}

// withOutcome keeps what the twin knows of the last outcome; it knows more of
// it than the device's other resources say.
func withOutcome(component, outcome map[string]any) {
	if outcome == nil {
		return
	}
	component["outcome"] = outcome
	if u, _ := component["update"].(map[string]any); u["id"] == outcome["id"] && u["result"] == outcome["result"] {
		component["update"] = maps.Clone(outcome)
	}
}
