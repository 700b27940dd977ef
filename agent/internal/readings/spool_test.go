package readings

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/component"
)

func openSpool(t *testing.T, dir string) *Spool {
	t.Helper()
	s, err := OpenSpool(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *Spool, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := s.Add(reading(0, float64(i)), i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A receiver is a server that gets readings.
type receiver struct {
	mu     sync.Mutex
	got    []float64
	answer error
}

func (r *receiver) send(_ context.Context, some []component.Reading) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range some {
		r.got = append(r.got, x.Value)
	}
	return r.answer
}

// take gives what has come since, and changes the answer.
func (r *receiver) take(answer error) (got []float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got, r.got, r.answer = r.got, nil, answer
	return got
}

func count(from, to int) (values []float64) {
	for i := from; i < to; i++ {
		values = append(values, float64(i))
	}
	return values
}

func runSpool(t *testing.T, s *Spool, send func(context.Context, []component.Reading) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, send)
	}()
	return func() { cancel(); <-ended }
}

// TestSpool: all that is added is sent, once and in order, by whichever agent runs.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, dir)
		add(t, s, 0, 60) // and the agent is killed
		s = openSpool(t, dir)
		var r receiver
		stop := runSpool(t, s, r.send)
		add(t, s, 60, 70)
		time.Sleep(time.Minute)
		add(t, s, 70, 72)
		time.Sleep(time.Minute)
		stop()
		add(t, s, 72, 74)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openSpool(t, dir)
		stop = runSpool(t, s, r.send)
		time.Sleep(time.Minute)
		stop()
		if diff := cmp.Diff(count(0, 74), r.take(nil)); diff != "" {
			t.Error(diff)
		}
	})
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
}

// TestSpoolAgain: what did not arrive is sent again with pauses, the same readings,
// and at once when the device is registered; what is refused for good is given up.
func TestSpoolAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, dir)
		r := receiver{answer: errors.New("no network")}
		add(t, s, 0, 2) // before anything is sent: they are sent together
		defer runSpool(t, s, r.send)()
		time.Sleep(time.Second / 2)
		add(t, s, 2, 4) // they do not change what is sent again
		down := errors.New("no network")
		for try := range 3 {
			synctest.Wait()
			if diff := cmp.Diff(count(0, 2), r.take(down)); diff != "" {
				t.Errorf("try %d: %s", try, diff)
			}
			time.Sleep(sendFirst << try)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		r.take(nil)
		s.Wake()
		synctest.Wait()
		if diff := cmp.Diff(count(0, 4), r.take(ErrRefused)); diff != "" {
			t.Error(diff)
		}
		time.Sleep(sendPeriod)
		add(t, s, 4, 6)
		time.Sleep(time.Minute)
		refused := r.take(nil)
		add(t, s, 6, 8)
		time.Sleep(time.Minute)
		if diff := cmp.Diff(count(4, 8), append(refused, r.take(nil)...)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSpoolBounds: of more than fits the oldest go.
func TestSpoolBounds(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir)
	for i := range (maxBatches + 2) * maxBatch {
		if err := s.Add(reading(0, float64(i)), false); err != nil {
			t.Fatal(err)
		}
	}
	number, found, more := s.oldest()
	if got := s.read(number); !found || !more || len(got) != maxBatch || got[0].Value < maxBatch {
		t.Errorf("the oldest are %v", got)
	}
	if files, _ := os.ReadDir(dir); len(files) > maxBatches+1 {
		t.Errorf("%d files", len(files))
	}
	if err := s.Add(component.Reading{Component: string(make([]byte, maxLine))}, false); err == nil {
		t.Error("a reading without a bound")
	}
}

// TestSpoolDamage: whatever becomes of a file, the readings of others arrive.
func TestSpoolDamage(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir)
	add(t, s, 0, 3*maxBatch)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if err := os.WriteFile(files[0], bytes.Repeat([]byte("x"), 3*maxLine), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := openSpool(t, dir)
		var r receiver
		stop := runSpool(t, s, r.send)
		time.Sleep(time.Minute)
		stop()
		if diff := cmp.Diff(count(2*maxBatch, 3*maxBatch), r.take(nil)); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzDecode: no file ends the agent or holds more than the server takes.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"component":"application/a","object":3303,"instance":0,"value":1.5,"time":"2026-11-30T12:00:00Z"}` + "\n{\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range decode(b) {
			if r.Component == "" {
				t.Error("a reading of nobody")
			}
		}
	})
}
