package device

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// updateRecords is a component as an instance of Component Update. What does
// not apply is empty or zero, never absent, so that an observer sees it go.
func updateRecords(instance uint16, v engine.View) []lwm2m.Record {
	var p engine.Progress
	if v.Progress != nil {
		p = *v.Progress
	}
	var o engine.Outcome
	if v.Outcome != nil && v.Progress == nil {
		o = *v.Outcome
		p.Update, p.To, p.Step, p.Predicted = o.Update, o.To, o.Step, o.Predicted
	}
	values := map[uint16]lwm2m.Value{
		objects.ComponentName:              lwm2m.String(v.Component),
		objects.ComponentVersion:           lwm2m.String(v.Serves().Version),
		objects.ComponentSchema:            lwm2m.Int(int64(v.Serves().Schema)),
		objects.ComponentRunning:           lwm2m.Bool(v.Running),
		objects.ComponentStale:             lwm2m.Bool(p.Stale),
		objects.ComponentWanted:            lwm2m.String(v.Wish.Version),
		objects.ComponentAttempt:           lwm2m.Int(int64(v.Wish.Attempt)),
		objects.ComponentPackage:           lwm2m.String(v.Wish.Package),
		objects.ComponentSchedule:          lwm2m.String(v.Schedule),
		objects.ComponentUpdateIdentifier:  lwm2m.String(p.Update),
		objects.ComponentTo:                lwm2m.String(p.To),
		objects.ComponentPhase:             lwm2m.String(string(p.Phase)),
		objects.ComponentStep:              lwm2m.String(p.Step),
		objects.ComponentProgress:          lwm2m.Float(p.Fraction),
		objects.ComponentBack:              lwm2m.Bool(p.Back),
		objects.ComponentFetched:           lwm2m.Int(p.Fetched),
		objects.ComponentSize:              lwm2m.Int(p.Size),
		objects.ComponentSlow:              lwm2m.Int(p.Slow),
		objects.ComponentUnavailableUntil:  lwm2m.Time(orEpoch(p.Until)),
		objects.ComponentResult:            lwm2m.String(o.Result),
		objects.ComponentCause:             lwm2m.String(o.Cause),
		objects.ComponentDowntime:          lwm2m.Float(o.Downtime.Seconds()),
		objects.ComponentPredictedDowntime: lwm2m.Float(p.Predicted.Seconds()),
		objects.ComponentMode:              lwm2m.String(mode(v)),
		objects.ComponentRest:              lwm2m.String(o.Rest),
		objects.ComponentFault:             lwm2m.String(v.Fault),
		objects.ComponentRepaired:          lwm2m.Int(v.Repaired),
		objects.ComponentMended:            lwm2m.Int(v.Mended),
		objects.ComponentStates:            lwm2m.String(objects.EncodeStates(states(v))),
		objects.ComponentWaitingFor:        lwm2m.String(waiting(p).For),
		objects.ComponentWaitingUntil:      lwm2m.Time(orEpoch(waiting(p).Until)),
		objects.ComponentWindow:            lwm2m.String(v.Terms.Window),
		objects.ComponentNow:               lwm2m.String(v.Terms.Now),
		objects.ComponentConsented:         lwm2m.String(v.Terms.Consented),
		objects.ComponentRefused:           lwm2m.String(v.Terms.Refused),
		objects.ComponentConsent:           lwm2m.String(v.Terms.Consent),
		objects.ComponentWantedState:       lwm2m.String(v.Wish.State),
		objects.ComponentRemove:            lwm2m.String(v.Wish.Remove),
		objects.ComponentDependants:        lwm2m.String(objects.EncodeDependants(v.Dependants)),
		objects.ComponentStopped:           lwm2m.String(strings.Join(p.Stopped, ", ")),
		objects.ComponentAsks:              lwm2m.Bool(v.Asks),
		objects.ComponentTimestamp:         lwm2m.Int(v.Trust.Timestamp),
		objects.ComponentTrouble:           lwm2m.String(v.Trust.Trouble),
	}
	maps.Copy(values, wayBack(v.Previous))
	return records(objects.ComponentUpdateID, instance, values)
}

// states are the saved states that can be chosen from.
func states(v engine.View) (all []objects.SavedState) {
	for _, e := range v.States {
		all = append(all, objects.SavedState{Generation: uint64(e.Generation), Version: e.Version, Schema: e.Schema, Saved: e.Time, Size: e.Size, Damaged: e.Damaged})
	}
	return all
}

// wayBack is what there is to say of the previous version; nil is none.
func wayBack(w *engine.WayBack) map[uint16]lwm2m.Value {
	if w == nil {
		w = &engine.WayBack{}
	}
	saved, note := time.Unix(0, 0), ""
	if !w.SavedAt.IsZero() {
		saved = w.SavedAt
	}
	if w.Way != "" {
		note = w.Note()
	}
	return map[uint16]lwm2m.Value{
		objects.ComponentPrevious:       lwm2m.String(w.Version),
		objects.ComponentPreviousSchema: lwm2m.Int(int64(w.Schema)),
		objects.ComponentSaved:          lwm2m.Time(saved),
		objects.ComponentWay:            lwm2m.String(w.Way),
		objects.ComponentWayNote:        lwm2m.String(note),
	}
}

// mode is "safe" while no update starts.
func mode(v engine.View) string {
	if v.Fault != "" {
		return "safe"
	}
	return "normal"
}

// orEpoch is a time to come; the epoch stands for none. LwM2M knows whole
// seconds: rounded up, nobody is late before he is.
func orEpoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t.Add(time.Second - 1).Truncate(time.Second)
}

// waiting is what an update waits for, the zero value if it does not.
func waiting(p engine.Progress) engine.Wait {
	if p.Waiting == nil {
		return engine.Wait{}
	}
	return *p.Waiting
}

func records(object, instance uint16, values map[uint16]lwm2m.Value) []lwm2m.Record {
	var all []lwm2m.Record
	for id, v := range values {
		all = append(all, lwm2m.Record{Path: lwm2m.NewPath(object, instance, id), Value: v})
	}
	return all
}

// write takes a wish. What is written together is one wish.
func (d *Device) write(_ context.Context, records []lwm2m.Record) error {
	if len(records) == 0 || int(records[0].Path.Instance()) >= len(d.Components) {
		return nil
	}
	component := d.Components[records[0].Path.Instance()]
	for _, r := range records {
		if r.Path.Resource() == objects.ComponentAcknowledge {
			return d.acknowledge(component, r.Value.Text())
		}
		if err := d.check(r); err != nil {
			return lwm2m.Errorf(lwm2m.CodeBadRequest, "%v", err)
		}
	}
	return d.Manager.Want(component, func(w *engine.Wishes) {
		for _, r := range records {
			switch r.Path.Resource() {
			case objects.ComponentWanted:
				w.Wish.Version = r.Value.Text()
			case objects.ComponentAttempt:
				w.Wish.Attempt = int(r.Value.Int())
			case objects.ComponentPackage:
				w.Wish.Package = r.Value.Text()
			case objects.ComponentWantedState:
				w.Wish.State = r.Value.Text()
			case objects.ComponentRemove:
				w.Wish.Remove = r.Value.Text()
			case objects.ComponentSchedule:
				w.Schedule = r.Value.Text()
			default:
				setTerm(&w.Terms, r)
			}
		}
	})
}

// setTerm takes one of the terms on which components are updated.
func setTerm(t *engine.Terms, r lwm2m.Record) {
	fields := map[uint16]*string{
		objects.ComponentWindow: &t.Window, objects.ComponentNow: &t.Now, objects.ComponentConsent: &t.Consent,
		objects.ComponentConsented: &t.Consented, objects.ComponentRefused: &t.Refused,
	}
	if field, is := fields[r.Path.Resource()]; is {
		*field = r.Value.Text()
	}
}

// check reports why something that was written cannot be understood.
func (d *Device) check(r lwm2m.Record) error {
	switch text := r.Value.Text(); r.Path.Resource() {
	case objects.ComponentSchedule:
		return d.Schedule(text)
	case objects.ComponentWindow:
		return d.Window(text)
	case objects.ComponentConsent:
		if text != "" && text != engine.ConsentAsk {
			return fmt.Errorf("consent %q is neither %q nor empty", text, engine.ConsentAsk)
		}
	}
	return nil
}

// execute answers when it is known whether the thing will be done.
func (d *Device) execute(_ context.Context, p lwm2m.Path, arguments string) error {
	if int(p.Instance()) >= len(d.Components) {
		return lwm2m.Errorf(lwm2m.CodeNotFound, "there is no component %v", p)
	}
	component := d.Components[p.Instance()]
	switch p.Resource() {
	case objects.ComponentCheckNow:
		return d.Manager.CheckNow(component)
	case objects.ComponentRepair:
		number, choice, err := readRepair(arguments)
		switch {
		case err != nil:
			return lwm2m.Errorf(lwm2m.CodeBadRequest, "%v", err)
		case choice != nil:
			return d.Manager.MendOnce(component, number, *choice)
		}
		return d.Manager.RepairOnce(number)
	case objects.ComponentCancel:
		if err := d.Manager.Cancel(component); err != nil {
			return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v", err)
		}
		return nil
	}
	return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v cannot be executed", p)
}

// readRepair reads the arguments of a repair (OMA LwM2M 1.0, 5.4.5): 0='3' is
// the number of one of the agent; 0='3',1='7' or 0='3',1='keep' of one of the
// component, and the saved state that it goes on with, or that it keeps its own.
func readRepair(arguments string) (number int64, choice *engine.Choice, err error) {
	first, second, ofComponent := strings.Cut(arguments, ",")
	text, err := argument(first, "0")
	if err == nil {
		number, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil || number <= 0 {
		return 0, nil, fmt.Errorf("argument %q is not of the form 0='3' or 0='3',1='keep': the number of the repair", arguments)
	}
	if !ofComponent {
		return number, nil, nil
	}
	if text, err = argument(second, "1"); err != nil {
		return 0, nil, err
	}
	c, err := engine.ParseChoice(text)
	return number, &c, err
}

// argument returns the value of one of the form 0='value'.
func argument(text, digit string) (string, error) {
	value, found := strings.CutPrefix(text, digit+"='")
	value, closed := strings.CutSuffix(value, "'")
	if !found || !closed {
		return "", fmt.Errorf("argument %q is not of the form %s='value'", text, digit)
	}
	return value, nil
}
