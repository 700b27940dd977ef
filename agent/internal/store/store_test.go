package store

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const name = "application/a"

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reopen closes s and opens it again, as a restart of the agent does.
func reopen(t *testing.T, s *Store, dir string) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestJournalSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s := open(t, dir)
	want := engine.Record{
		Format: 1, Step: "save", Back: true, Begun: 2, Cause: "boom",
		Update: engine.Update{ID: "u1", Component: name, To: engine.Installed{Version: "2.0.0", Handle: updater.Handle{Version: 1, Data: []byte("h")}}},
	}
	check(t, s.Save(want))
	s = reopen(t, s, dir)
	got, found, err := s.Load(name)
	if err != nil || !found || !cmp.Equal(want, got) {
		t.Fatalf("found %v, error %v, %s", found, err, cmp.Diff(want, got))
	}
	if _, found, _ := s.Load("application/b"); found {
		t.Error("a record of another component")
	}
	check(t, s.End(got, engine.Outcome{Update: "u1", Component: name, Result: engine.TurnedBack}))
	s = reopen(t, s, dir)
	defer s.Close()
	if _, found, _ := s.Load(name); found {
		t.Error("the journal must be empty after End")
	}
	if o, found, _ := s.Outcome(name); !found || o.Result != engine.TurnedBack {
		t.Errorf("outcome %+v", o)
	}
}

func TestInstalledAndWishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s := open(t, dir)
	if i, err := s.Installed(name); err != nil || i.Version != "" {
		t.Fatalf("%+v, %v", i, err)
	}
	installed := engine.Installed{Version: "1.0.0", Schema: 1, Digest: "sha256:x"}
	wishes := engine.Wishes{Wish: engine.Wish{Version: "2.0.0"}, Schedule: "0 * * * *"}
	check(t, s.Commit(name, installed))
	check(t, s.SetWishes(name, wishes))
	s = reopen(t, s, dir)
	defer s.Close()
	if got, _ := s.Installed(name); !cmp.Equal(got, installed) {
		t.Error(cmp.Diff(installed, got))
	}
	if got, _ := s.Wishes(name); !cmp.Equal(got, wishes) {
		t.Error(cmp.Diff(wishes, got))
	}
}

func TestOneProcessOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s := open(t, dir)
	defer s.Close()
	if _, err := Open(dir, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrInUse) {
		t.Fatalf("a second agent opened the same store: %v", err)
	}
}

// TestRecordOfANewerAgent: of it the format alone is read, and it is kept.
func TestRecordOfANewerAgent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s := open(t, dir)
	check(t, s.write(put(journalKey+name, map[string]any{"format": 7, "update": "of another kind"})))
	s = reopen(t, s, dir)
	defer s.Close()
	r, found, err := s.Load(name)
	if err != nil || !found || r.Format != 7 || s.Damage() != (Damage{}) {
		t.Errorf("%+v, %v, %v, %+v", r, found, err, s.Damage())
	}
}
