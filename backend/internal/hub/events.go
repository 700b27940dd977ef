package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// maxStreams is how many streams of events one hub has open: each reads the log by itself.
const maxStreams = 512

// heartbeat is how often a quiet event stream says that it is alive.
const heartbeat = 15 * time.Second

// streamEvents sends events as server-sent events (WHATWG HTML 9.2), of one device with ?device=ID, or of its module with &module=ID, after the
// Last-Event-ID or from now on. It opens with the id of that position, so that a reader can resume from the start.
func (h *Hub) streamEvents(w http.ResponseWriter, r *http.Request, _ right) error {
	leave, ok := h.streams.Take(struct{}{}, maxStreams, maxStreams)
	if !ok {
		return twin.Throttled.With("there are %d streams of events already: end some, or ask again later", maxStreams)
	}
	defer leave()
	after, err := h.startPosition(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	ctx, cancel := context.WithCancel(r.Context())
	events := make(chan twin.Event)
	query := r.URL.Query()
	go h.follow(ctx, username{query.Get("device"), query.Get("module")}.id(), after, events)
	defer func() {
		cancel()
		for range events { // until follow has ended
		}
	}()
	stream := eventStream{w, http.NewResponseController(w)}
	stream.control.SetReadDeadline(time.Time{}) // the server's would end the request, which has been read
	err = stream.send("id: %d\n\n", after)
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for err == nil {
		select {
		case event, more := <-events:
			if !more {
				return nil
			}
			err = stream.sendEvent(event)
		case <-ticker.C:
			err = stream.send(":\n\n")
		}
	}
	h.log.Debug("event stream ended", "remote", r.RemoteAddr, "cause", err)
	return nil
}

// startPosition is the Last-Event-ID, or the newest event. An id from the future is one of a log that was since lost.
func (h *Hub) startPosition(r *http.Request) (uint64, error) {
	newest, err := h.store.Position(r.Context())
	if err != nil {
		return 0, err
	}
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		return newest, nil
	}
	after, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return 0, twin.ArgumentInvalid.With("Last-Event-ID is not an id of this hub")
	}
	return min(after, newest), nil
}

// follow hands events over until ctx is done or the log fails, then closes the channel.
func (h *Hub) follow(ctx context.Context, device string, after uint64, events chan<- twin.Event) {
	defer close(events)
	for event, err := range h.store.Events(ctx, device, after) {
		if err != nil {
			if ctx.Err() == nil {
				h.log.Error("event stream failed", "error", err)
			}
			return
		}
		select {
		case events <- event:
		case <-ctx.Done():
			return
		}
	}
}

// eventStream writes to a reader that may be gone or asleep.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s eventStream) sendEvent(event twin.Event) error {
	text, err := tell(event)
	if err != nil {
		return err
	}
	return s.send("id: %d\ndata: %s\n\n", event.Sequence, text)
}

// tell is an event as applications get it.
func tell(event twin.Event) ([]byte, error) {
	device, module := twin.Split(event.Device)
	return json.Marshal(iothub.Event{
		ID: strconv.FormatUint(event.Sequence, 10), Type: event.Type, Device: device, Module: module, Time: event.Time, Body: event.Body, Lost: event.Lost,
	})
}

func (s eventStream) send(format string, args ...any) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.control.Flush()
}
