package readings

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/durable"
)

const (
	// maxBatch bounds the readings of one file, which the server gets in one message:
	// about what fits a datagram.
	maxBatch = 24
	// maxBatches bounds what waits for a server: some 12,000 readings, 3 MB. Of more the
	// oldest go.
	maxBatches = 512
	// maxLine bounds a reading in a file, in bytes.
	maxLine = 4 << 10

	sendPeriod = time.Second // between two messages, if there is no more than one to send
	sendFirst  = time.Second // pause after one that did not arrive, then twice as long each time
	sendLast   = 30 * time.Second
)

// A Spool has the readings that the server has not got yet, in files that are sent
// one after the other, oldest first, each whole: so one that is sent again, by an
// agent that was started anew, says the same. It outlasts the agent, and from the
// announcement of an update on also a power cut.
type Spool struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	closed []uint64      // numbers of the files that are not written to any more, oldest first
	number uint64        // of the next file
	out    *os.File      // the newest, nil if there is none
	count  int           // of its readings
	lost   int           // readings that nobody gets, since the last line of the log
	news   chan struct{} // there is something
	again  chan struct{} // it may be taken now
}

// OpenSpool opens a directory, and makes it if it is not there.
func OpenSpool(dir string, log *slog.Logger) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open the spool of readings: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the spool of readings: %w", err)
	}
	s := &Spool{dir: dir, log: log, news: make(chan struct{}, 1), again: make(chan struct{}, 1)}
	for _, e := range entries {
		if n, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), ".jsonl"), 16, 64); err == nil {
			s.closed = append(s.closed, n)
			s.number = max(s.number, n+1)
		}
	}
	slices.Sort(s.closed)
	return s, nil
}

// Close closes the file that is open; what is in it is sent by the next agent.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roll()
}

// Wake has the spool try again now, since the device is registered.
func (s *Spool) Wake() { signal(s.again) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Add keeps a reading; sync: it is on the disk when Add returns.
func (s *Spool) Add(r component.Reading, sync bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	line, err := json.Marshal(r)
	if err == nil && len(line) >= maxLine {
		err = fmt.Errorf("%d bytes are too many for a reading", len(line))
	}
	if err == nil {
		err = s.write(append(line, '\n'), sync)
	}
	if err != nil {
		return fmt.Errorf("cannot keep a reading: %w", err)
	}
	signal(s.news)
	return nil
}

func (s *Spool) write(line []byte, sync bool) error {
	if s.out == nil {
		if err := s.begin(sync); err != nil {
			return err
		}
	}
	_, err := s.out.Write(line)
	if err == nil && sync {
		err = s.out.Sync()
	}
	if s.count++; err != nil || s.count >= maxBatch { // what came of half a line is passed over
		err = errors.Join(err, s.roll())
	}
	return err
}

// begin opens the next file.
func (s *Spool) begin(sync bool) error {
	for len(s.closed) >= maxBatches {
		s.lost += maxBatch
		s.remove(s.closed[0])
	}
	out, err := os.OpenFile(s.file(s.number), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.out, s.count, s.number = out, 0, s.number+1
	if sync {
		return durable.Sync(s.dir)
	}
	return nil
}

// roll ends the newest file. The caller holds the lock.
func (s *Spool) roll() error {
	if s.out == nil {
		return nil
	}
	err := s.out.Close()
	s.closed, s.out = append(s.closed, s.number-1), nil
	return err
}

func (s *Spool) file(number uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x.jsonl", number))
}

// remove takes a file out of the spool. The caller holds the lock.
func (s *Spool) remove(number uint64) {
	s.closed = slices.DeleteFunc(s.closed, func(n uint64) bool { return n == number })
	if err := os.Remove(s.file(number)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("readings that the server has are sent again", "error", err)
	}
}

// oldest is the file to send next, and whether others wait behind it.
func (s *Spool) oldest() (number uint64, found, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost > 0 {
		s.log.Warn("readings are lost: the server was away for too long", "about", s.lost)
		s.lost = 0
	}
	if len(s.closed) == 0 {
		if err := s.roll(); err != nil {
			s.log.Warn("cannot close a file of readings", "error", err)
		}
	}
	if len(s.closed) == 0 {
		return 0, false, false
	}
	return s.closed[0], true, len(s.closed) > 1 || s.out != nil
}

// done takes a file out of the spool that the server has, or nobody can have.
func (s *Spool) done(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(number)
}

// read gives the readings of a file, as far as it is whole.
func (s *Spool) read(number uint64) []component.Reading {
	b, err := os.ReadFile(s.file(number))
	if err != nil {
		s.log.Warn("readings are lost", "error", err)
	}
	return decode(b)
}

// decode passes over lines that are no readings.
func decode(b []byte) (all []component.Reading) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var r component.Reading
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Component != "" && len(all) < maxBatch {
			all = append(all, r)
		}
	}
	return all
}

// ErrRefused says that the server takes no readings that are sent to it.
var ErrRefused = errors.New("the server takes no readings")

// Run sends what is in the spool until ctx ends. After ErrRefused those readings are
// given up, and after any other error they are sent again.
func (s *Spool) Run(ctx context.Context, send func(context.Context, []component.Reading) error) {
	pause, refused := sendFirst, false
	for ctx.Err() == nil {
		number, found, more := s.oldest()
		if !found {
			wait(ctx, s.news, nil)
			continue
		}
		var err error
		if batch := s.read(number); len(batch) > 0 {
			err = send(ctx, batch)
		}
		switch {
		case err == nil:
			s.done(number)
			pause, refused = sendFirst, false
			if !more {
				wait(ctx, nil, time.After(sendPeriod))
			}
		case errors.Is(err, ErrRefused):
			if !refused {
				s.log.Info("readings are shown, and not sent one by one", "error", err)
			}
			s.done(number)
			refused = true
			wait(ctx, nil, time.After(sendPeriod))
		case ctx.Err() == nil:
			s.log.Debug("readings are sent again", "pause", pause, "error", err)
			wait(ctx, s.again, time.After(pause))
			pause = min(2*pause, sendLast)
		}
	}
}

func wait(ctx context.Context, news <-chan struct{}, until <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-news:
	case <-until:
	}
}
