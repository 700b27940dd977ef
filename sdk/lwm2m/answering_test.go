package lwm2m

import (
	"testing"
	"time"
)

// TestOneTime: what is read together is of one time, that of its instance, or of none;
// Leshan refuses an answer with several.
func TestOneTime(t *testing.T) {
	noon := time.Unix(1_800_000_000, 0)
	record := func(p Path, at time.Time) Record { return Record{Path: p, Value: Float(1), Time: at} }
	first, second := NewPath(3303, 0), NewPath(3303, 1)
	for name, test := range map[string]struct {
		records []Record
		want    time.Time
	}{
		"an instance":       {[]Record{record(first.Child(5700), noon), record(first.Child(5701), time.Time{})}, noon},
		"two at once":       {[]Record{record(first.Child(5700), noon), record(second.Child(5700), noon)}, noon},
		"two times":         {[]Record{record(first.Child(5700), noon), record(second.Child(5700), noon.Add(1))}, time.Time{}},
		"one without":       {[]Record{record(first.Child(5700), noon), record(NewPath(3, 0, 14), time.Time{})}, time.Time{}},
		"no time":           {[]Record{record(first.Child(5700), time.Time{})}, time.Time{}},
		"two times, one id": {[]Record{record(first.Child(5700), noon), record(first.Child(5601), noon.Add(-time.Hour))}, time.Time{}},
	} {
		before := test.records[0]
		for _, r := range oneTime(test.records) {
			if !r.Time.Equal(test.want) {
				t.Errorf("%s: %v is of %v, want %v", name, r.Path, r.Time, test.want)
			}
		}
		if test.records[0] != before {
			t.Errorf("%s: the records of the object were changed", name)
		}
	}
	if len(oneTime(nil)) != 0 {
		t.Error("made of nothing")
	}
}
