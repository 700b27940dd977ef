package adapter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store that checks the order of what it gets.
type memory struct {
	last   atomic.Int64
	full   error
	append func() // called by Append, unless nil
}

func (m *memory) Last() int             { return int(m.last.Load()) }
func (m *memory) Offset() milli.Degrees { return 150 }
func (m *memory) Append(readings ...Reading) error {
	for _, r := range readings {
		if int64(r.Seq) != m.last.Add(1) {
			return errors.New("out of order")
		}
	}
	if m.append != nil && len(readings) > 0 {
		m.append()
	}
	return m.full
}

func TestQuiesceAndResume(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	store := &memory{}
	a := &Adapter{interval: time.Millisecond, seed: 10}
	ended := make(chan error)
	go func() { ended <- a.run(ctx, func(string) (Store, error) { return store, nil }) }()
	waitFor(t, func() bool { return store.Last() > 20 })

	if err := a.quiesce(ctx); err != nil {
		t.Fatal(err)
	}
	rest := store.Last()
	if a.sample(ctx, time.Now()); store.Last() != rest {
		t.Error("a sample was taken at rest")
	}
	if err := a.health(ctx); err != nil {
		t.Errorf("not healthy at rest: %v", err)
	}
	if err := a.resume(ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return store.Last() > rest })
	if err := a.health(ctx); err != nil {
		t.Errorf("not healthy: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// The end may be asked for while a reading is stored: it is published all the
// same, and that is no failure.
func TestEndDuringASample(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := &Adapter{interval: time.Millisecond}
	store := &memory{append: cancel}
	if err := a.run(ctx, func(string) (Store, error) { return store, nil }); err != nil {
		t.Errorf("ended with %v", err)
	}
	if store.Last() == 0 {
		t.Error("nothing was stored")
	}
}

func TestHealth(t *testing.T) {
	for name, a := range map[string]*Adapter{
		"sick":   {sick: true, stored: time.Now()},
		"silent": {stored: time.Now().Add(-time.Minute)},
	} {
		if a.health(t.Context()) == nil {
			t.Errorf("%s counts as healthy", name)
		}
	}
}

func TestFullDiskEndsTheProgram(t *testing.T) {
	full := errors.New("no space left")
	store := &memory{full: full}
	a := &Adapter{interval: time.Millisecond}
	err := a.run(t.Context(), func(string) (Store, error) { return store, nil })
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

func TestWriteJSONReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "total.json")
	for _, want := range []int{1, 22, 3} {
		if err := WriteJSON(path, want); err != nil {
			t.Fatal(err)
		}
		var got int
		if err := ReadJSON(path, &got); err != nil || got != want {
			t.Errorf("got %d, %v; want %d", got, err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReadJSON(path, new(int)); err == nil {
		t.Error("half a file was read")
	}
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
