package store

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// TestSetAside: what cannot be read goes, all else stays, and everything is
// kept in a file.
func TestSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	check(t, err)
	other := "application/other"
	check(t, s.Commit(name, engine.Installed{Version: "1.0.0"}))
	check(t, s.Save(engine.Record{Update: engine.Update{Component: other}}))
	check(t, s.SetFault("broken"))
	check(t, s.SetRepaired(3))
	check(t, s.write(put(journalKey+name, []string{"of a shape"}), put(wishesKey+name, "that nobody knows")))
	if _, _, err := s.Load(name); err == nil {
		t.Fatal("it can be read")
	}
	kept, err := s.SetAside([]string{name})
	check(t, err)
	b, err := os.ReadFile(kept)
	if err != nil || !json.Valid(b) || !strings.Contains(string(b), "of a shape") {
		t.Errorf("kept in %s: %s, %v", kept, b, err)
	}
	check(t, s.Close())
	s, err = Open(dir, slog.New(slog.DiscardHandler))
	check(t, err)
	defer s.Close()
	_, open, err := s.Load(name)
	_, otherOpen, _ := s.Load(other)
	i, _ := s.Installed(name)
	w, err2 := s.Wishes(name)
	fault, _ := s.Fault()
	repaired, _ := s.Repaired()
	if err != nil || err2 != nil || open || !otherOpen || i.Version != "1.0.0" || w != (engine.Wishes{}) || fault != "" || repaired != 3 {
		t.Errorf("open %v, other %v, installed %+v, wishes %+v, fault %q, repaired %d: %v, %v", open, otherOpen, i, w, fault, repaired, err, err2)
	}
}
