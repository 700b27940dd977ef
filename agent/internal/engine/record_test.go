package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

var write = flag.Bool("write", false, "write testdata/record-1.json anew, for a new format")

// fullRecord has every field set.
func fullRecord() Record {
	installed := func(version string, schema int) Installed {
		return Installed{
			Version: version, Schema: schema, Epoch: 2, Digest: "sha256:" + version,
			Handle: updater.Handle{Version: 1, Data: []byte(version + "-0123")},
		}
	}
	return Record{
		Format: 1, Step: "transform", Back: true, Begun: 3, Failed: "probe", Cause: "not healthy within 30s",
		Update: Update{
			ID: "0a1b2c", Component: "application/sensor-adapter",
			Wish: Wish{Version: "2.0.0", Package: "sha256:2.0.0", Attempt: 4},
			From: installed("1.0.0", 1), To: installed("2.0.0", 2),
			Rehearsal: 7, Saved: 9, New: 10,
			Predicted: 1500 * time.Millisecond, Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			Serving: true, Down: Moment{Boot: "5f0c", At: time.Hour}, Downtime: 900 * time.Millisecond, Forced: true,
		},
	}
}

// TestRecordOfFormat1 reads what earlier agents of this format have written,
// and lets them read what this one writes: nothing of it may have changed.
func TestRecordOfFormat1(t *testing.T) {
	sameAsFixture(t, "record-1.json", fullRecord())
}

// sameAsFixture holds a record against the fixture, both ways.
func sameAsFixture(t *testing.T, name string, r Record) {
	t.Helper()
	path := filepath.Join("testdata", name)
	now, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *write {
		if err := os.WriteFile(path, append(now, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	then, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var read Record
	if err := json.Unmarshal(then, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, read); diff != "" {
		t.Errorf("the fixture is read as another record: %s", diff)
	}
	missing(t, "", object(t, then), object(t, now))
}

// missing fails for every field of old that is not the same in new. New fields
// are allowed: an older agent ignores them, as the next test shows.
func missing(t *testing.T, at string, old, current map[string]any) {
	for name, value := range old {
		inner, nested := value.(map[string]any)
		other, _ := current[name].(map[string]any)
		if nested && other != nil {
			missing(t, at+"."+name, inner, other)
		} else if !cmp.Equal(value, current[name]) {
			t.Errorf("an earlier agent does not understand %s.%s: it was %v, is %v; raise RecordFormat", at, name, value, current[name])
		}
	}
}

func object(t *testing.T, b []byte) (o map[string]any) {
	t.Helper()
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRecordWithUnknownFields(t *testing.T) {
	b, err := json.Marshal(fullRecord())
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte(`{"format":1`), []byte(`{"later":{"a":[1]},"format":1`), 1)
	b = bytes.Replace(b, []byte(`"id":`), []byte(`"later":true,"id":`), 1)
	var read Record
	if err := json.Unmarshal(b, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullRecord(), read); diff != "" {
		t.Error(diff)
	}
}

// TestRecordOfANewerAgent: it is refused, and not touched.
func TestRecordOfANewerAgent(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"format": func(r *Record) { r.Format = RecordFormat + 1 },
		"step":   func(r *Record) { r.Step = "something new" },
	} {
		t.Run(name, func(t *testing.T) {
			r := Record{Format: RecordFormat, Step: "a"}
			change(&r)
			d := &device{record: &r, budget: -1, done: map[string]bool{}}
			e := &Engine{Journal: d, Log: slog.New(slog.DiscardHandler), Tell: func(Progress) {}}
			_, err := e.run(t.Context(), d.steps(), Update{ID: "u"})
			if !errors.Is(err, ErrNewer) {
				t.Errorf("error %v", err)
			}
			if d.record != &r || len(d.trace) > 0 {
				t.Errorf("it was touched: %+v, %v", d.record, d.trace)
			}
		})
	}
}

func TestStopped(t *testing.T) {
	for step, want := range map[string]bool{"resolve": false, "announce": false, "quiesce": true, "probe": true, "of tomorrow": true} {
		if got := (Record{Step: step}).Stopped(); got != want {
			t.Errorf("%s: %t", step, got)
		}
	}
}
