package engine

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// An update waits, undisturbed and undisturbing, until it is permitted; the
// agent may restart meanwhile as often as it likes.
func TestAdmit(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	permission := error(Wait{For: "consent", Until: time.Unix(1000, 0)})
	e.Permit = func(u Update) error {
		if u.ID != "u" || u.Component != component {
			t.Errorf("asked about %+v", u)
		}
		return permission
	}
	var told Progress
	e.Tell = func(p Progress) { told = p }
	for range 20 {
		var wait Wait
		if _, err := w.update(t, e, "2.0.0"); !errors.As(err, &wait) || wait.For != "consent" {
			t.Fatal(err)
		}
		if told.Step != "admit" || told.Stale || told.Waiting == nil || told.Waiting.For != "consent" || w.running != "1.0.0" || w.quiet {
			t.Fatalf("told %+v, running %q, quiet %v", told, w.running, w.quiet)
		}
		if w.journal.Waiting == nil || !w.journal.Waiting.Until.Equal(time.Unix(1000, 0)) || w.journal.Begun != 0 {
			t.Fatalf("journal %+v", w.journal)
		}
	}
	if err := e.collect("application/other"); err != nil { // what the update of another component does at its end
		t.Fatal(err)
	}
	for _, blob := range w.packages["2.0.0"].Package.Transforms { // what a check of the content store does with damage
		path, err := w.content.Path(blob.Digest)
		if err != nil {
			continue // two transforms are one blob
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	permission = nil
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Updated || told.Waiting != nil {
		t.Fatalf("%+v, %v, told %+v", o, err, told)
	}
	w.check(t, o)
}

func TestAdmitRefuses(t *testing.T) {
	for name, at := range map[string]string{"early": "resolve", "late": "admit"} {
		t.Run(name, func(t *testing.T) {
			w, e := newWorld(t, build(t, "1m"))
			e.Permit = func(Update) error {
				if w.journal.Step == at {
					return errors.New("consent was refused")
				}
				return Wait{For: "consent"}
			}
			o, err := w.update(t, e, "2.0.0")
			if err != nil || o.Result != Refused || o.Step != at || !strings.Contains(o.Cause, "consent was refused") {
				t.Fatalf("%+v, %v", o, err)
			}
			w.check(t, o)
		})
	}
}

// A rehearsal that is too old, or of another boot, is repeated before the
// component is disturbed, and its prediction is the one that is announced.
func TestAStaleRehearsalIsRepeated(t *testing.T) {
	for name, test := range map[string]struct {
		age   func(*Moment)
		again bool
	}{
		"fresh":        {func(*Moment) {}, false},
		"old":          {func(m *Moment) { m.At -= 2 * time.Hour }, true},
		"another boot": {func(m *Moment) { m.Boot = "earlier" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, e := newWorld(t, build(t, "1m"))
			e.Permit = func(Update) error { return Wait{For: "consent"} }
			if _, err := w.update(t, e, "2.0.0"); err == nil {
				t.Fatal("it does not wait")
			}
			test.age(&w.journal.Update.Rehearsed)
			asked := 0
			e.Permit = func(u Update) error {
				if asked++; asked == 2 && (u.Rehearsed.Boot != now().Boot || since(u.Rehearsed) > time.Hour) {
					t.Error("asked again before the rehearsal")
				}
				return nil
			}
			o, err := w.update(t, e, "2.0.0")
			if err != nil || o.Result != Updated || (asked == 2) != test.again {
				t.Fatalf("%+v, %v, asked %d times", o, err, asked)
			}
			w.check(t, o)
		})
	}
}

// full is a content store on a disk that has no room for more than limit.
type full struct {
	Content
	limit int64
	files int64
}

func (f *full) Reserve(bytes, files int64) error {
	if bytes > f.limit || files > f.files {
		return errors.New("not enough disk space")
	}
	return nil
}

func TestAdmitWaitsForRoom(t *testing.T) {
	w, e := newWorld(t, build(t, "1m"))
	disk := &full{e.Content, int64(len(w.state)), 3} // enough to save it, but not to transform it
	e.Content = disk
	waits := func() {
		t.Helper()
		var wait Wait
		if _, err := w.update(t, e, "2.0.0"); !errors.As(err, &wait) || !wait.Poll || !strings.Contains(wait.For, "room for the state") {
			t.Fatal(err)
		}
	}
	waits()
	disk.limit *= 2
	waits() // for inodes
	disk.files = 4
	if o, err := w.update(t, e, "2.0.0"); err != nil || o.Result != Updated {
		t.Fatalf("%+v, %v", o, err)
	}
}
