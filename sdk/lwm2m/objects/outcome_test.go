package objects

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOutcome(t *testing.T) {
	want := Outcome{
		ID: "u1", From: "1.0.0", To: "2.0.0", Result: "turned back", Cause: "not \"healthy\"", Step: "probe",
		Downtime: 1.5, Predicted: 2, Kind: "rollback", Cancelled: true, Warnings: []string{"w"}, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Missed: 1,
	}
	got, err := DecodeOutcome(want.Encode())
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("%s, %v", cmp.Diff(want, got), err)
	}
	long := Outcome{ID: "u1", Result: "refused", Cause: strings.Repeat("\x00é", MaxOutcome)}
	if got, err := DecodeOutcome(long.Encode()); err != nil || got.Cause == "" || got.ID != "u1" {
		t.Errorf("%+v, %v", got, err)
	}
	long.Warnings = strings.Split(strings.Repeat("\x00é", MaxOutcome)+strings.Repeat(",", 100), ",")
	if got, err := DecodeOutcome(long.Encode()); err != nil || got.Cause == "" || len(got.Warnings) != maxWarnings+1 || got.Warnings[maxWarnings] != "and 97 more" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"id":"u"}`, `{"id":"u","result":"updated","downtime":1e300}`, `{"id":1}`, strings.Repeat(" ", MaxOutcome+1)} {
		if o, err := DecodeOutcome(bad); err == nil {
			t.Errorf("%.20q is %+v", bad, o)
		}
	}
}

// FuzzOutcome: what was read can be written, and is read as the same.
func FuzzOutcome(f *testing.F) {
	f.Add(Outcome{ID: "u1", Result: "updated", Downtime: 1}.Encode())
	f.Add(`{"id":"u","result":"é","cause":"\u0000"}`)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := DecodeOutcome(text)
		if err != nil {
			return
		}
		if len(o.Encode()) > MaxOutcome {
			t.Errorf("%d bytes", len(o.Encode()))
		}
		if again, err := DecodeOutcome(o.Encode()); o.Encode() != "" && (err != nil || again.ID != o.ID || again.Result != o.Result) {
			t.Errorf("%+v became %+v, %v", o, again, err)
		}
	})
}
