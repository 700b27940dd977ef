package logfile

import "sync"

// Recent has the last lines of a log in memory, of at most so many bytes: they can be
// shown wherever the log itself goes.
type Recent struct {
	Limit int

	mu    sync.Mutex
	lines []string
	size  int
}

// Write adds a line.
func (r *Recent) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(line))
	r.size += len(line)
	for r.size > r.Limit && len(r.lines) > 0 {
		r.size -= len(r.lines[0])
		r.lines[0] = ""
		r.lines = r.lines[1:]
	}
	return len(line), nil
}

// Lines are those that there are, the oldest first, each with its end.
func (r *Recent) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.lines...)
}
