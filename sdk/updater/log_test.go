package updater

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogRoundTrip(t *testing.T) {
	var out bytes.Buffer
	w := newLogWriter(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: dropTime})))
	l := slog.New(newLogHandler(w))
	l.Debug("one", "n", int64(9007199254740993), "err", errors.New("x y"))
	l.With("a", 1).WithGroup("g").Warn("two", "msg", "m")
	w.Write([]byte("panic: half a "))
	w.Write([]byte("line\n\n{\"@message\": 1, \"@level\": \"warn\"}\n[1]\nrest"))
	w.flush()
	want := `level=DEBUG msg=one err="x y" n=9007199254740993
level=WARN msg=two a=1 g=map[msg:m]
level=WARN msg="panic: half a line"
level=WARN msg=""
level=WARN msg=[1]
level=WARN msg=rest
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func dropTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func TestLongLogLine(t *testing.T) {
	var out bytes.Buffer
	w := newLogWriter(slog.New(slog.NewTextHandler(&out, nil)))
	for range 100 {
		w.Write([]byte(strings.Repeat("x", 1<<12)))
	}
	w.Write([]byte("\n"))
	if n := out.Len(); n < maxLogLine || n > maxLogLine+100 {
		t.Errorf("a line of %d bytes", n)
	}
}

func FuzzLogLine(f *testing.F) {
	for _, s := range []string{
		`{"@message":"m","@level":"info","@timestamp":"2026-11-22T08:00:04.000000Z","k":1}`,
		`{"@message":1}`, `null`, `{"@level":"INFO+9"}`, "panic: x", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, line []byte) {
		w := newLogWriter(slog.New(slog.DiscardHandler))
		w.Write(line)
		w.flush()
		parseLogLine(line)
	})
}

// TestFlood: who writes without end gets a bounded part of the agent's log, which
// says so, and is heard again when it comes to its senses.
func TestFlood(t *testing.T) {
	var out bytes.Buffer
	w := newLogWriter(slog.New(slog.NewTextHandler(&out, nil)))
	line := []byte(strings.Repeat("x", 1<<10) + "\n")
	for range 16 << 10 {
		w.Write(line)
	}
	if n := out.Len(); n < logBurst || n > 2*logBurst {
		t.Errorf("%d bytes of a flood are in the log", n)
	}
	if got := strings.Count(out.String(), `msg="updater logs too much`); got == 0 || got > 10 {
		t.Errorf("it is told %d times", got)
	}
	out.Reset()
	w.at = w.at.Add(-time.Minute)
	w.Write([]byte("sorry\n"))
	if got := out.String(); !strings.Contains(got, `msg="updater logs less again" lines_dropped=`) || !strings.Contains(got, "msg=sorry") {
		t.Errorf("afterwards: %s", got)
	}
}
