package host

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// An excerpt keeps the head and the tail of a stream, each half of limit.
type excerpt struct {
	limit      int
	head, tail []byte
	total      int64
}

// collect reads r to its end.
func collect(r io.Reader, limit int64) *excerpt {
	e := &excerpt{limit: int(limit)}
	io.Copy(e, r) // a broken pipe ends the log, no more
	return e
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
