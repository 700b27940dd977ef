package host

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// An excerpt keeps the head and the tail of a stream, each half of limit.
type excerpt struct {
	limit      int
	head, tail []byte
	total      int64
}

func (e *excerpt) Write(p []byte) (int, error) {
	n := len(p)
	e.total += int64(n)
	if room := e.limit/2 - len(e.head); room > 0 {
		room = min(room, len(p))
		e.head = append(e.head, p[:room]...)
		p = p[room:]
	}
	e.tail = append(e.tail, p...)
	if drop := len(e.tail) - e.limit/2; drop > 0 {
		e.tail = append(e.tail[:0], e.tail[drop:]...)
	}
	return n, nil
}

// String returns what was kept, fit for a log.
func (e *excerpt) String() string {
	text := string(e.head)
	if missing := e.total - int64(len(e.head)+len(e.tail)); missing > 0 {
		text += fmt.Sprintf("\n… %d bytes …\n", missing)
	}
	return strings.TrimSpace(printable(text + string(e.tail)))
}

// withoutTrace leaves out the stacks of goroutines with which Go ends a program
// that has no memory: they are long and name the runtime.
func withoutTrace(log string) string {
	const mark = "fatal error: "
	at := strings.Index(log, mark)
	if at < 0 || at > 0 && log[at-1] != '\n' {
		return log
	}
	reason, trace, _ := strings.Cut(log[at:], "\n")
	if trace = strings.TrimSpace(trace); trace == "" {
		return log
	}
	return fmt.Sprintf("%s%s\n… %d lines of stack traces …", log[:at], reason, 1+strings.Count(trace, "\n"))
}

// printable replaces what could fool a reader of logs or drive a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && r != utf8.RuneError && (r < 0x80 || r > 0x9f) && !bidi(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// bidi reports whether r changes the direction of text or hides.
func bidi(r rune) bool {
	return r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

// firstLine returns the first line that says something, shortened.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if runes := []rune(line); len(runes) > 200 {
		line = string(runes[:200]) + "…"
	}
	return line
}

// logEvery is how long what was logged of a module counts.
const logEvery = time.Hour

// logs bound what modules write into the log of the host by runs that end well:
// in an update these can be any number, of files, pieces and tries.
type logs struct {
	mu    sync.Mutex
	wrote map[[sha256.Size]byte]wrote
}

// A wrote is what was logged of a module since a time.
type wrote struct {
	since time.Time
	bytes int64
	full  bool // what is shorter and would fit is left out as well
}

// admit returns whether so many bytes more may be logged of a module, and
// whether it is the first time that they may not. One log is never too long.
func (l *logs) admit(m module, bytes int64, now time.Time) (admitted, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.wrote, func(_ [sha256.Size]byte, w wrote) bool { return now.Sub(w.since) > logEvery })
	w, before := l.wrote[m.sum]
	if !before {
		w.since = now
	}
	admitted = !w.full && (!before || w.bytes+bytes <= m.limits.Log)
	first = !w.full && !admitted
	w.full = !admitted
	w.bytes += bytes
	if l.wrote == nil {
		l.wrote = map[[sha256.Size]byte]wrote{}
	}
	l.wrote[m.sum] = w
	return admitted, first
}

// tell passes on what a run wrote to its log.
func (s *stage) tell(file, log string) {
	if log == "" {
		return
	}
	admitted, first := s.host.logs.admit(s.module, int64(len(log)), time.Now())
	switch {
	case admitted:
		s.host.log().Info("transform wrote to its log", "edge", s.edge(), "file", file, "log", log)
	case first:
		s.host.log().Warn("transform writes more to its log than is kept in an hour: what follows is left out", "edge", s.edge(), "file", file)
	}
}
