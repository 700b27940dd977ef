package bridge

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A part is what a device takes or refuses as one: a property of a component,
// or several that are one wish.
type part struct {
	property string
	records  []lwm2m.Record
}

// parts lists what differs from what the device was asked for, in the order in
// which it is safe to write them: terms come before what they are about.
func (w want) parts(path lwm2m.Path, asked want) (all []part) {
	old, terms := asked.terms.all(), w.terms.all()
	for _, name := range []string{"refused", "consent", "window", "now", "consented"} {
		if t := terms[name]; *t.value != *old[name].value {
			all = append(all, part{name, []lwm2m.Record{{Path: path.Child(t.resource), Value: lwm2m.String(*t.value)}}})
		}
	}
	if w.version != asked.version || w.attempt != asked.attempt || w.file != asked.file || w.state != asked.state || w.remove != asked.remove {
		records := []lwm2m.Record{
			{Path: path.Child(objects.ComponentWanted), Value: lwm2m.String(w.version)},
			{Path: path.Child(objects.ComponentAttempt), Value: lwm2m.Int(w.attempt)},
			{Path: path.Child(objects.ComponentPackage), Value: lwm2m.String(w.file)},
		}
		if w.state != "" || asked.state != "" { // an older agent does not know it
			records = append(records, lwm2m.Record{Path: path.Child(objects.ComponentWantedState), Value: lwm2m.String(w.state)})
		}
		if w.remove != "" || asked.remove != "" { // nor this
			records = append(records, lwm2m.Record{Path: path.Child(objects.ComponentRemove), Value: lwm2m.String(w.remove)})
		}
		all = append(all, part{"version", records})
	}
	if w.schedule != asked.schedule {
		all = append(all, part{"check", []lwm2m.Record{{Path: path.Child(objects.ComponentSchedule), Value: lwm2m.String(w.schedule)}}})
	}
	return all
}

// write has the device know what is wanted: first which update must not go
// on, whatever else there is; then the rest at once, so that it never goes by
// half of it. If the device refuses that, each part for itself.
func (s *session) write(ctx context.Context, d *lwm2m.Device, name string, path lwm2m.Path, w, asked want) error {
	parts := w.parts(path, asked)
	if parts[0].property == "refused" {
		if err := s.writeEach(ctx, d, name, path, parts[:1], asked); err != nil {
			return err
		}
		parts = parts[1:]
	}
	var records []lwm2m.Record
	for _, p := range parts {
		records = append(records, p.records...)
	}
	if len(records) == 0 {
		return nil
	}
	err := d.Write(ctx, path, lwm2m.Update, records)
	var refused *lwm2m.Error
	if errors.As(err, &refused) {
		return s.writeEach(ctx, d, name, path, parts, asked)
	}
	if err == nil {
		s.take(d, records)
	}
	return err
}

// writeEach writes parts one by one. For one that the device refuses it gets
// what is left without it: see [want.refuse].
func (s *session) writeEach(ctx context.Context, d *lwm2m.Device, name string, path lwm2m.Path, parts []part, asked want) error {
	for _, p := range parts {
		err := d.Write(ctx, path, lwm2m.Update, p.records)
		var refused *lwm2m.Error
		if errors.As(err, &refused) {
			s.refuse(name, p.property+": the device refused: "+refused.Error())
			if refused.Code>>5 == 4 { // 4.xx; after another it may take it later
				err = s.writeInstead(ctx, d, name, path, p.property, cmp.Or(refused.Reason, refused.Error()), asked)
			}
		} else if err == nil {
			s.take(d, p.records)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeInstead has the device know what is left without a property.
func (s *session) writeInstead(ctx context.Context, d *lwm2m.Device, name string, path lwm2m.Path, property, cause string, asked want) error {
	w := s.wants[name]
	w.refuse(property, cause, asked)
	w = w.kept(asked)
	s.wants[name] = w // until the twin says something else
	for _, p := range w.parts(path, asked) {
		if p.property != property {
			continue
		}
		err := d.Write(ctx, path, lwm2m.Update, p.records)
		var refused *lwm2m.Error
		if errors.As(err, &refused) {
			s.refuse(name, p.property+": the device cannot be told to be careful: "+refused.Error())
			return nil
		}
		if err != nil {
			return err
		}
		s.take(d, p.records)
	}
	return nil
}

// refuse has the twin say what of a component's wishes has no effect.
func (s *session) refuse(name, cause string) {
	key := "components/" + name
	before, _ := s.refused[key].(string)
	switch {
	case before == "":
		s.refused[key] = cause
	case !strings.Contains(before, cause):
		s.refused[key] = before + "; " + cause
	}
}
