package store

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// TestOutbox has outcomes come and acknowledgements come late, twice and for
// others, with restarts between: what is the oldest is what a list says.
func TestOutbox(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s := open(t, dir)
	defer func() { s.Close() }()
	random := rand.New(rand.NewPCG(1, 2))
	var want []engine.Outcome
	for n := range 400 {
		switch action := random.IntN(100); {
		case action < 50:
			o := engine.Outcome{Update: fmt.Sprint("u", n), Component: name, Result: engine.Updated}
			check(t, s.Report(o))
			if random.IntN(2) == 0 { // as an update that has reported does
				o.Cause = "again"
				check(t, s.End(engine.Record{Update: engine.Update{Component: name}}, o))
			}
			if want = append(want, o); len(want) > maxWaiting {
				want[1].Missed += want[0].Missed + 1
				want = want[1:]
			}
		case action < 80 && len(want) > 0:
			check(t, s.Acknowledge(name, want[0].Update))
			o := want[0]
			check(t, s.Report(o)) // is not told again
			want = want[1:]
		case action < 95:
			check(t, s.Acknowledge(name, fmt.Sprint("u", random.IntN(n+1), "?")))
		default:
			s = reopen(t, s, dir)
		}
		oldest, found, err := s.Oldest(name)
		check(t, err)
		if found != (len(want) > 0) || found && !cmp.Equal(oldest, want[0]) {
			t.Fatalf("step %d: found %v, %+v; want %+v", n, found, oldest, want)
		}
	}
}

// TestMended: with the outcome of a repair it is noted that it has ended.
func TestMended(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s := open(t, dir)
	defer func() { s.Close() }()
	for _, number := range []int64{3, engine.RepairHere, 0} {
		check(t, s.Report(engine.Outcome{Update: fmt.Sprint("u", number), Component: name, Repair: number}))
		s = reopen(t, s, dir)
		if done, err := s.Mended(name); done != 3 || err != nil {
			t.Errorf("after %d: %d, %v", number, done, err)
		}
	}
}

// TestACorrectionIsTold: an update that could not be cleaned up has another
// result than it reported.
func TestACorrectionIsTold(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	defer s.Close()
	o := engine.Outcome{Update: "u", Component: name, Result: engine.Updated}
	check(t, s.Report(o))
	check(t, s.Acknowledge(name, "u"))
	o.Result = engine.Inconsistent
	check(t, s.Report(o))
	if got, found, err := s.Oldest(name); err != nil || !found || !cmp.Equal(got, o) {
		t.Errorf("%+v, %v, %v", got, found, err)
	}
}

// TestOutboxOfAnEarlierAgent: it kept the last outcome only.
func TestOutboxOfAnEarlierAgent(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	defer s.Close()
	o := engine.Outcome{Update: "u1", Component: name, Result: engine.Updated}
	check(t, s.write(put(outcomeKey+name, o), put(earlierKey+name, "u1")))
	next := engine.Outcome{Update: "u2", Component: name, Result: engine.Updated}
	check(t, s.Report(next))
	for _, want := range []engine.Outcome{o, next} {
		got, found, err := s.Oldest(name)
		if err != nil || !found || !cmp.Equal(got, want) {
			t.Errorf("%+v, %v, %v", got, found, err)
		}
		check(t, s.Acknowledge(name, want.Update))
	}
	if _, found, _ := s.Oldest(name); found {
		t.Error("there is one more")
	}
}
