package updater

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// The names and the time layout of hclog's JSON lines, which go-plugin's other
// hosts and plugins in other languages use too.
const (
	keyTime    = "@timestamp"
	keyLevel   = "@level"
	keyMessage = "@message"
	timeLayout = "2006-01-02T15:04:05.000000Z07:00"
	maxLogLine = 64 << 10 // bytes; what a line has more is dropped
)

// newLogHandler writes records as lines that logWriter understands. The agent
// decides which levels it keeps.
func newLogHandler(w io.Writer) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: rename})
}

func rename(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String(keyTime, a.Value.Time().Format(timeLayout))
	case slog.LevelKey:
		return slog.String(keyLevel, strings.ToLower(a.Value.String()))
	case slog.MessageKey:
		a.Key = keyMessage
	}
	return a
}

// A logWriter puts what an updater writes on stderr into the agent's log.
// go-plugin could do that, but a line like {"@message": 1} would end the agent.
type logWriter struct {
	log  *slog.Logger
	line []byte // begun, not yet ended
	last string // the last message and its cause, for the error if the updater does not start

	// Who writes more than the agent's log should hold loses the rest.
	left    float64 // bytes that may be written now
	at      time.Time
	dropped int // lines
}

// What an updater may log: much at once, but not for long.
const (
	logBurst = 1 << 20  // bytes
	logRate  = 32 << 10 // bytes a second
)

func newLogWriter(log *slog.Logger) *logWriter {
	return &logWriter{log: log, left: logBurst, at: time.Now()}
}

// allows reports whether a line of n bytes may be logged now.
func (w *logWriter) allows(n int) bool {
	now := time.Now()
	w.left = min(w.left+now.Sub(w.at).Seconds()*logRate, logBurst)
	enough := float64(n)
	if w.dropped > 0 { // not a line now and then
		enough = logBurst / 8
	}
	if w.at = now; w.left < enough {
		if w.dropped++; w.dropped == 1 {
			w.log.Warn("updater logs too much, what follows is dropped")
		}
		return false
	}
	w.left -= float64(n)
	if w.dropped > 0 {
		w.log.Warn("updater logs less again", "lines_dropped", w.dropped)
		w.dropped = 0
	}
	return true
}

func (w *logWriter) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		w.line = append(w.line, part[:min(len(part), maxLogLine-len(w.line))]...)
		if part[len(part)-1] == '\n' {
			w.flush()
		}
	}
	return len(p), nil
}

// flush logs the line begun.
func (w *logWriter) flush() {
	line := bytes.TrimSpace(w.line)
	w.line = w.line[:0]
	if len(line) == 0 || !w.allows(len(line)) {
		return
	}
	r := parseLogLine(line)
	w.last = r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "cause" {
			w.last += ": " + a.Value.String()
		}
		return true
	})
	ctx := context.Background()
	if w.log.Enabled(ctx, r.Level) {
		w.log.Handler().Handle(ctx, r)
	}
}

// parseLogLine reads a JSON line. Any other text, which may be a Go runtime's
// last words, becomes a warning.
func parseLogLine(line []byte) slog.Record {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil || fields == nil {
		return slog.NewRecord(time.Now(), slog.LevelWarn, string(line), 0)
	}
	take := func(key string) string {
		s, _ := fields[key].(string)
		delete(fields, key)
		return s
	}
	at, err := time.Parse(timeLayout, take(keyTime))
	if err != nil {
		at = time.Now()
	}
	var level slog.Level
	if level.UnmarshalText([]byte(take(keyLevel))) != nil {
		level = slog.LevelInfo
	}
	r := slog.NewRecord(at, level, take(keyMessage), 0)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		r.AddAttrs(slog.Any(key, fields[key]))
	}
	return r
}
