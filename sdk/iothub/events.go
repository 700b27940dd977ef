package iothub

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Pauses between attempts to reconnect an event stream.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// silence is how long an event stream may be quiet: the hub sends a comment at least every 15 s.
const silence = 60 * time.Second

// maxEvent bounds one line of the stream: telemetry of 256 KB in base64 fits.
const maxEvent = 1 << 20

// Events tells what happens, for one device, for one module (`{device}/{module}`) or, with device "", for all. It begins after the event lastID,
// or with lastID "" at what comes next. When the connection breaks it reconnects and goes on where it was, without gap or
// repetition as long as the hub keeps the events. It ends, with an error, when ctx is done or the hub refuses.
func (c *Client) Events(ctx context.Context, device, lastID string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for event, err := range c.told(ctx, device, lastID) {
			if event.Type != opened && !yield(event, err) {
				return
			}
		}
	}
}

// opened is the type of what told tells when a stream has begun: whatever happens from then on comes.
const opened = "opened"

// told is Events, and tells of each stream that begins.
func (c *Client) told(ctx context.Context, device, lastID string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		pause := firstPause
		for {
			before := lastID
			err := c.stream(ctx, device, &lastID, func(e Event) bool { return yield(e, nil) })
			if errors.Is(err, errStopped) {
				return
			}
			if refused, ok := errors.AsType[*Error](err); ok && refused.Status/100 == 4 {
				yield(Event{}, fmt.Errorf("cannot follow events: %w", err))
				return
			}
			if lastID != before {
				pause = firstPause
			}
			if !sleep(ctx, pause) {
				yield(Event{}, fmt.Errorf("cannot follow events: %w", context.Cause(ctx)))
				return
			}
			pause = min(2*pause, lastPause)
		}
	}
}

// errStopped says that the one who reads the events has had enough.
var errStopped = errors.New("stopped")

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// stream reads one connection until it breaks and keeps lastID up to date.
func (c *Client) stream(ctx context.Context, device string, lastID *string, emit func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	query := ""
	if device != "" {
		device, module, _ := strings.Cut(device, "/")
		query = "?device=" + url.QueryEscape(device) + "&module=" + url.QueryEscape(module)
	}
	req, err := c.request(ctx, http.MethodGet, "/api/v1/events"+query, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if *lastID != "" {
		req.Header.Set("Last-Event-ID", *lastID)
	}
	res, err := c.send(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	begun := false
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	return readEvents(res.Body, func(id string, data []byte) error {
		watchdog.Reset(silence)
		if id != "" { // the position counts even without an event: the hub opens with where the stream begins
			*lastID = id
		}
		if !begun && !emit(Event{Type: opened}) {
			return errStopped
		}
		begun = true
		if data == nil {
			return nil
		}
		var event Event
		if err := json.Unmarshal(data, &event); err != nil {
			return fmt.Errorf("cannot decode event: %w", err)
		}
		if !emit(event) {
			return errStopped
		}
		return nil
	})
}

// readEvents parses a stream of server-sent events (WHATWG HTML 9.2) and hands over each block's id and data;
// both are empty for a comment.
func readEvents(r io.Reader, handle func(id string, data []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEvent)
	var id string
	var data []byte
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			if err := handle(id, data); err != nil {
				return err
			}
			id, data = "", nil
		case name == "id":
			id = value
		case name == "data" && data == nil:
			data = []byte(value)
		case name == "data":
			data = append(append(data, '\n'), value...)
		}
		if len(data) > maxEvent {
			return bufio.ErrTooLong
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
