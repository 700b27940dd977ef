// Package history remembers on the device how updates have ended, for whoever stands
// before it; the back end has a memory of its own.
package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// A Book is written as a log is: a line of JSON for each outcome, the oldest giving way.
type Book struct {
	path string
	to   io.Writer // appends to path, whose older part is in path + ".1"

	mu   sync.Mutex
	last map[string]string // update that was noted last, by component
}

// Open reads what was noted before; to appends to path.
func Open(path string, to io.Writer) (*Book, error) {
	b := &Book{path: path, to: to, last: map[string]string{}}
	outcomes, err := b.All()
	for _, o := range outcomes {
		b.last[o.Component] = o.Update
	}
	return b, err
}

// Note writes down how the last update of a component has ended, once.
func (b *Book) Note(o *engine.Outcome) error {
	if o == nil || o.Update == "" {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last[o.Component] == o.Update {
		return nil
	}
	line, err := json.Marshal(o)
	if err == nil {
		_, err = b.to.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot note how an update has ended: %w", err)
	}
	b.last[o.Component] = o.Update
	return nil
}

// maxLine bounds an outcome, in bytes: its cause has a line, its warnings are few.
const maxLine = 64 << 10

// All are the outcomes that are remembered, the oldest first. What a power cut has left
// of a line is passed over.
func (b *Book) All() (outcomes []engine.Outcome, err error) {
	for _, path := range []string{b.path + ".1", b.path} {
		file, err := os.Open(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read how updates have ended: %w", err)
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			var o engine.Outcome
			if json.Unmarshal(lines.Bytes(), &o) == nil && o.Update != "" {
				outcomes = append(outcomes, o)
			}
		}
		file.Close()
	}
	return outcomes, nil
}
