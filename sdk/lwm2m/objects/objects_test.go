package objects

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

func TestDefinitions(t *testing.T) {
	for id, d := range Model() {
		if d.ID != id || d.Name == "" {
			t.Errorf("object %d: %d %q", id, d.ID, d.Name)
		}
		seen := map[uint16]bool{}
		for _, r := range d.Resources {
			if seen[r.ID] || r.Name == "" {
				t.Errorf("/%d/%d is there twice, or has no name", id, r.ID)
			}
			seen[r.ID] = true
			if (r.Kind == lwm2m.KindNone) != (r.Operations == lwm2m.E) {
				t.Errorf("/%d/%d: kind %v does not fit its operations", id, r.ID, r.Kind)
			}
		}
	}
	for _, r := range Security.Resources {
		if r.Operations != 0 {
			t.Errorf("/0/%d is open to servers", r.ID)
		}
	}
}

func TestMemory(t *testing.T) {
	m := NewMemory(ComponentUpdate)
	m.SetValue(2, ComponentName, lwm2m.String("application/a"))
	m.SetValue(2, ComponentWanted, lwm2m.String("1"))
	m.SetValue(0, ComponentName, lwm2m.String("firmware/b"))
	if diff := cmp.Diff([]uint16{0, 2}, m.Instances()); diff != "" {
		t.Error(diff)
	}
	p := lwm2m.NewPath(ComponentUpdateID, 2)
	refusal := errors.New("no")
	m.OnWrite = func(context.Context, []lwm2m.Record) error { return refusal }
	attempt := []lwm2m.Record{{Path: p.Child(ComponentAttempt), Value: lwm2m.Int(1)}}
	if err := m.Write(t.Context(), p, lwm2m.Update, attempt); !errors.Is(err, refusal) || m.Value(attempt[0].Path).Kind() != lwm2m.KindNone {
		t.Errorf("a refused write: %v", err)
	}
	m.OnWrite = nil
	if err := m.Write(t.Context(), p, lwm2m.Replace, attempt); err != nil {
		t.Fatal(err)
	}
	records, err := m.Read(t.Context(), p)
	if err != nil || len(records) != 2 || records[0].Path.Resource() != ComponentName || records[1] != attempt[0] {
		t.Errorf("after Replace: %v, %v", records, err)
	}
	if err := m.Execute(t.Context(), p.Child(ComponentCancel), ""); !errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeMethodNotAllowed}) {
		t.Errorf("execute without a hook: %v", err)
	}
	m.Remove(p)
	if diff := cmp.Diff([]uint16{0}, m.Instances()); diff != "" {
		t.Error(diff)
	}
}

func TestSensor(t *testing.T) {
	s := NewSensor(TemperatureID)
	at := time.Date(2026, 11, 22, 8, 0, 4, 0, time.UTC)
	paths := s.Reading(1, 21.5, "Cel", at)
	if len(paths) != 1 || paths[0] != lwm2m.NewPath(TemperatureID, 1) {
		t.Errorf("changed: %v", paths)
	}
	for id, want := range map[uint16]lwm2m.Value{SensorValue: lwm2m.Float(21.5), SensorUnits: lwm2m.String("Cel"), SensorTimestamp: lwm2m.Time(at)} {
		if got := s.Value(paths[0].Child(id)); got != want {
			t.Errorf("resource %d: %v, want %v", id, got, want)
		}
	}
	for id, main := range map[uint16]uint16{3305: SensorActivePower, 3313: SensorX, 3314: SensorX} {
		s := NewSensor(id)
		p := s.Reading(0, 3, "m/s2", at)[0]
		records, err := s.Read(t.Context(), p)
		if err != nil || s.Value(p.Child(main)) != lwm2m.Float(3) {
			t.Errorf("/%d: %v, %v", id, records, err)
		}
		for _, r := range records {
			if _, ok := s.Definition().Resource(r.Path.Resource()); !ok {
				t.Errorf("%v is not in the object", r.Path)
			}
		}
	}
	if SensorDefinition(3349).Name == "" {
		t.Error("an unknown sensor has no name")
	}
}
