package component

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// PathReadings is where the agent takes readings: PUT with a Reading as JSON,
// HTTP/1.1 over its unix socket.
const PathReadings = "/v1/readings"

// A Reading is one value that the component measured. Object and Instance say
// where it appears in LwM2M: 3303 is the IPSO temperature object.
type Reading struct {
	Component string    `json:"component"` // filled in by Publish if empty
	Object    int       `json:"object"`    // IPSO object, 3303
	Instance  int       `json:"instance"`  // 0 for the first sensor of its kind
	Value     float64   `json:"value"`
	Unit      string    `json:"unit,omitempty"` // SenML unit (RFC 8428), "Cel"; at most 64 bytes
	Time      time.Time `json:"time"`           // filled in by Publish if zero
}

const (
	bufferSize  = 256 // readings kept while the agent is away
	sendTimeout = 5 * time.Second
	retryFirst  = 100 * time.Millisecond
	retryMax    = 5 * time.Second
)

var defaultLink = sync.OnceValue(func() *link { return newLink(os.Getenv(EnvLink)) })

// Publish hands r to the agent and returns at once. While the agent is away
// the newest 256 readings are kept and sent later, in order. It fails only if
// r cannot be sent at all (a value of NaN or infinity) or ctx has ended.
// Outside of Tranquil readings are dropped.
func Publish(ctx context.Context, r Reading) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return defaultLink().publish(r)
}

// Flush waits until the agent has all published readings or ctx ends. Call it
// before the application ends.
func Flush(ctx context.Context) error { return defaultLink().flush(ctx) }

// A link sends readings from a bounded buffer. Its one goroutine runs only
// while the buffer holds something.
type link struct {
	socket string
	client *http.Client

	mu      sync.Mutex
	buffer  [][]byte
	first   int           // number of readings that left the buffer so far
	idle    chan struct{} // closed while nothing is to be sent
	sending bool
}

func newLink(socket string) *link {
	idle := make(chan struct{})
	close(idle)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	transport := &http.Transport{DialContext: dial, IdleConnTimeout: time.Minute}
	return &link{socket: socket, idle: idle, client: &http.Client{Transport: transport, Timeout: sendTimeout}}
}

func (l *link) publish(r Reading) error {
	if r.Component == "" {
		r.Component = Name()
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot publish reading: %w", err)
	}
	if l.socket == "" {
		return nil
	}
	l.enqueue(body)
	return nil
}

func (l *link) enqueue(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buffer) == bufferSize {
		l.dropFirst()
	}
	l.buffer = append(l.buffer, body)
	if !l.sending {
		l.sending, l.idle = true, make(chan struct{})
		go l.send()
	}
}

func (l *link) dropFirst() {
	l.buffer = l.buffer[1:]
	l.first++
}

// next returns the oldest reading and its number, or false when the buffer is
// empty; then the sender must end.
func (l *link) next() (body []byte, number int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buffer) == 0 {
		l.sending = false
		close(l.idle)
		return nil, 0, false
	}
	return l.buffer[0], l.first, true
}

// sent removes reading number from the buffer, unless it was pushed out of it
// meanwhile.
func (l *link) sent(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == number {
		l.dropFirst()
	}
}

func (l *link) send() {
	pause := retryFirst
	for {
		body, number, ok := l.next()
		if !ok {
			return
		}
		err := l.put(body)
		if errors.Is(err, errLater) {
			pause = retryFirst // it is there, and says so
		}
		if err != nil {
			slog.Debug("agent is away, reading is kept", "error", err)
			time.Sleep(pause)
			pause = min(2*pause, retryMax)
			continue
		}
		l.sent(number)
		pause = retryFirst
	}
}

// errLater says that the agent takes no readings of the component now.
var errLater = errors.New("the component is being updated")

// put returns an error if it makes sense to try again. What the agent refuses
// is logged and given up: it would refuse it again.
func (l *link) put(body []byte) error {
	request, err := http.NewRequest(http.MethodPut, "http://agent"+PathReadings, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := l.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		return errLater
	case response.StatusCode >= 500:
		return fmt.Errorf("agent answered %s", response.Status)
	case response.StatusCode >= 300:
		slog.Warn("agent refused a reading", "status", response.StatusCode, "reason", string(reason))
	}
	return nil
}

func (l *link) flush(ctx context.Context) error {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("readings left unsent: %w", ctx.Err())
	}
}
