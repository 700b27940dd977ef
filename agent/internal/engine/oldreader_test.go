package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// This is how the agent read its journal when records of format 1 were new:
// the types and the checks are copies, and stay as they are. An agent that is
// put back to that version must find its way with what today's writes.

type oldRecord struct {
	Format int       `json:"format"`
	Update oldUpdate `json:"update"`
	Step   string    `json:"step"`
	Back   bool      `json:"back,omitempty"`
	Begun  int       `json:"begun"`
	Failed string    `json:"failed,omitempty"`
	Cause  string    `json:"cause,omitempty"`
}

type oldUpdate struct {
	ID        string        `json:"id"`
	Component string        `json:"component"`
	Wish      oldWish       `json:"wish"`
	From      oldInstalled  `json:"from"`
	To        oldInstalled  `json:"to"`
	Rehearsal uint64        `json:"rehearsal,omitempty"`
	Saved     uint64        `json:"saved,omitempty"`
	New       uint64        `json:"new,omitempty"`
	Predicted time.Duration `json:"predicted,omitempty"`
	Until     time.Time     `json:"until,omitzero"`
	Serving   bool          `json:"serving,omitempty"`
	Down      oldMoment     `json:"down,omitzero"`
	Downtime  time.Duration `json:"downtime,omitempty"`
	Forced    bool          `json:"forced,omitempty"`
}

type oldWish struct {
	Version string `json:"version,omitempty"`
	Package string `json:"package,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
}

type oldInstalled struct {
	Version string `json:"version"`
	Schema  int    `json:"schema,omitempty"`
	Epoch   int    `json:"epoch,omitempty"`
	Digest  string `json:"digest,omitempty"`
	Handle  struct {
		Version int    `json:"version"`
		Data    []byte `json:"data"`
	} `json:"handle,omitzero"`
}

type oldMoment struct {
	Boot string        `json:"boot"`
	At   time.Duration `json:"at"`
}

var oldSteps = []string{
	"resolve", "download", "verify", "stage", "rehearse", "announce", "quiesce", "stop", "save", "rewrite",
	"transform", "apply", "start", "probe", "commit", "report", "clean",
}

// oldRead reports whether the old agent goes on from a record; if not, it
// leaves it as it is, and is in safe mode.
func oldRead(b []byte) (r oldRecord, goesOn bool, err error) {
	var head struct{ Format int }
	if err := json.Unmarshal(b, &head); err != nil || head.Format > 1 {
		return oldRecord{Format: head.Format}, false, err
	}
	err = json.Unmarshal(b, &r)
	return r, slices.Contains(oldSteps, r.Step), err
}

// A scribe keeps all that is written to the journal.
type scribe struct {
	*world
	written [][]byte
}

func (s *scribe) Save(r Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	s.written = append(s.written, b)
	return s.world.Save(r)
}

// TestAnOlderAgentReadsTheJournal: of every record of an update that succeeds,
// and of one that turns back, the old agent reads what today's has meant, or
// knows that it must not go on. The steps it knows are in the order it knows.
func TestAnOlderAgentReadsTheJournal(t *testing.T) {
	for _, failAt := range []string{"", "apply"} {
		w, e := newWorld(t, build(t, "1m"))
		w.set(func() { w.budget, w.failAt, w.failOnce = -1, failAt, true })
		s := &scribe{world: w}
		e.Journal = s
		o, err := w.update(t, e, "2.0.0")
		if err != nil || (o.Result == Updated) != (failAt == "") {
			t.Fatalf("%+v, %v", o, err)
		}
		var seen []string
		for _, b := range s.written {
			old, goesOn, err := oldRead(b)
			if err != nil {
				t.Fatalf("%v: %s", err, b)
			}
			sameMeaning(t, b, old)
			if goesOn && !old.Back && !slices.Contains(seen, old.Step) {
				seen = append(seen, old.Step)
			}
		}
		want := oldSteps
		if failAt != "" {
			want = oldSteps[:slices.Index(oldSteps, failAt)+1]
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
	}
}

// sameMeaning compares what both agents read, field by field.
func sameMeaning(t *testing.T, b []byte, old oldRecord) {
	t.Helper()
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	u, v := r.Update, old.Update
	for what, pair := range map[string][2]any{
		"place":    {[]any{old.Format, old.Step, old.Back, old.Begun, old.Failed, old.Cause}, []any{r.Format, r.Step, r.Back, r.Begun, r.Failed, r.Cause}},
		"identity": {[]any{v.ID, v.Component, v.Wish.Version, v.Wish.Package, v.Wish.Attempt}, []any{u.ID, u.Component, u.Wish.Version, u.Wish.Package, u.Wish.Attempt}},
		"from":     {[]any{v.From.Version, v.From.Schema, v.From.Epoch, v.From.Digest, v.From.Handle.Data}, []any{u.From.Version, u.From.Schema, u.From.Epoch, u.From.Digest, u.From.Handle.Data}},
		"to":       {[]any{v.To.Version, v.To.Schema, v.To.Epoch, v.To.Digest, v.To.Handle.Data}, []any{u.To.Version, u.To.Schema, u.To.Epoch, u.To.Digest, u.To.Handle.Data}},
		"state":    {[]any{v.Rehearsal, v.Saved, v.New}, []any{u.Rehearsal, u.Saved, u.New}},
		"downtime": {[]any{v.Predicted, v.Until, v.Serving, v.Down.Boot, v.Down.At, v.Downtime, v.Forced}, []any{u.Predicted, u.Until, u.Serving, u.Down.Boot, u.Down.At, u.Downtime, u.Forced}},
	} {
		if old, current := fmt.Sprint(pair[0]), fmt.Sprint(pair[1]); old != current {
			t.Errorf("%s: the old agent reads %s, it means %s", what, old, current)
		}
	}
}

// TestAnOlderAgentKeepsOffNewerRecords: a format or a step that it does not
// know is not for it to go on from.
func TestAnOlderAgentKeepsOffNewerRecords(t *testing.T) {
	for _, record := range []string{`{"format":2,"step":"stop"}`, `{"format":1,"step":"another","update":{"id":"u"}}`} {
		if r, goesOn, err := oldRead([]byte(record)); goesOn || err != nil {
			t.Errorf("goes on from %s: %+v, %v", record, r, err)
		}
	}
}
