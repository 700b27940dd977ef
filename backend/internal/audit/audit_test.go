package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/store"
)

// paper is a journal that a forger can write on.
type paper struct {
	mu    sync.Mutex
	lines [][]byte
}

func (p *paper) Last(context.Context) (uint64, []byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == 0 {
		return 0, nil, nil
	}
	return uint64(len(p.lines)), p.lines[len(p.lines)-1], nil
}

func (p *paper) Append(_ context.Context, after uint64, text []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if after != uint64(len(p.lines)) {
		return fs.ErrExist
	}
	p.lines = append(p.lines, text)
	return nil
}

func (p *paper) Read(_ context.Context, number uint64) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number < 1 || number > uint64(len(p.lines)) {
		return nil, fs.ErrNotExist
	}
	return p.lines[number-1], nil
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func ann(t *testing.T) context.Context {
	return audit.By(t.Context(), audit.Actor{Who: "ann", Via: "session", From: "192.0.2.1"})
}

func nothing() error { return nil }

// TestForgeries: whatever is done to the list shows.
func TestForgeries(t *testing.T) {
	for name, forge := range map[string]func(lines [][]byte) [][]byte{
		"altered": func(lines [][]byte) [][]byte {
			lines[1] = []byte(strings.Replace(string(lines[1]), "device-1", "device-7", 1))
			return lines
		},
		"removed":   func(lines [][]byte) [][]byte { return append(lines[:1:1], lines[2:]...) },
		"exchanged": func(lines [][]byte) [][]byte { lines[1], lines[2] = lines[2], lines[1]; return lines },
		"garbage":   func(lines [][]byte) [][]byte { lines[0] = []byte("{"); return lines },
	} {
		p := &paper{}
		l := audit.New(p, logger(t))
		for i := range 4 {
			if err := l.Change(ann(t), "device.create", fmt.Sprint("device-", i), map[string]any{"tags": "<é>"}, nothing); err != nil {
				t.Fatal(err)
			}
		}
		number, hash, err := l.Verify(t.Context())
		if number != 4 || len(hash) != 64 || err != nil {
			t.Fatal(number, hash, err)
		}
		p.lines = forge(p.lines)
		if _, _, err := l.Verify(t.Context()); err == nil {
			t.Errorf("%s: nobody notices", name)
		}
	}
}

// TestChange: an entry is there before the deed, failure is told, and nothing is done by nobody or without an entry.
func TestChange(t *testing.T) {
	p := &paper{}
	l := audit.New(p, logger(t))
	err := l.Change(ann(t), "device.delete", "d", nil, func() error {
		if len(p.lines) != 1 {
			t.Error("it is done before it is written down")
		}
		return errors.New("it is not there")
	})
	if err == nil || err.Error() != "it is not there" {
		t.Error(err)
	}
	entries, err := l.Entries(t.Context(), 0, 10)
	if err != nil || len(entries) != 2 || entries[0].Failed != "it is not there" || entries[1].Failed != "" || entries[1].Who != "ann" {
		t.Errorf("%+v %v", entries, err)
	}
	done := false
	if err := l.Change(t.Context(), "device.delete", "d", nil, func() error { done = true; return nil }); err == nil || done {
		t.Error("nobody has done it")
	}
	if below, err := l.Entries(t.Context(), 2, 10); err != nil || len(below) != 1 || below[0].Number != 1 {
		t.Errorf("%+v %v", below, err)
	}
}

// TestStored: many write at once into the real store, and again after it was opened anew.
func TestStored(t *testing.T) {
	dir := t.TempDir()
	for round := 1; round <= 2; round++ {
		s, err := store.Open(t.Context(), store.Config{Dir: dir, Log: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		journal, err := s.Journal(t.Context(), "audit")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				l := audit.New(journal, logger(t))
				if err := l.Change(ann(t), "device.create", fmt.Sprint(i), json.RawMessage(`{"a": 1}`), nothing); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n, _, err := audit.New(journal, logger(t)).Verify(t.Context()); err != nil || n != uint64(4*round) {
			t.Error(n, err)
		}
		s.Close()
	}
}
