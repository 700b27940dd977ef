package hub

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// Limits of direct methods: IoT Hub's, but for the last two.
const (
	maxMethodPayload   = 128 << 10 // bytes, in each direction
	minMethodTimeout   = 5         // seconds for the device's answer
	maxMethodTimeout   = 300       // seconds, also for the device to come
	usualMethodTimeout = 30
	maxMethodName      = 128 // bytes
	maxCalls           = 16  // that wait for one device
)

// A method is a direct method as the back end asks for it: something that a device shall do now.
type method struct {
	Name            string          `json:"methodName"`
	Payload         json.RawMessage `json:"payload"`
	ResponseTimeout *int            `json:"responseTimeoutInSeconds"`
	ConnectTimeout  int             `json:"connectTimeoutInSeconds"`
}

// A methodAnswer is the device's; err is set if it cannot be understood.
type methodAnswer struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
	err     error
}

// callMethod has a device do something, and answers what it answers.
func (h *Hub) callMethod(w http.ResponseWriter, r *http.Request, _ right) error {
	id := r.PathValue("id")
	m, err := readMethod(r)
	if err != nil {
		return err
	}
	if _, err := h.store.Device(r.Context(), id); err != nil {
		return err
	}
	connect, response := time.Duration(m.ConnectTimeout)*time.Second, time.Duration(*m.ResponseTimeout)*time.Second
	control := http.NewResponseController(w)
	err = errors.Join(
		control.SetReadDeadline(time.Time{}), // the server's would end the request, which has been read
		control.SetWriteDeadline(time.Now().Add(connect+response+writeTimeout)),
	)
	if err != nil {
		return err
	}
	s, err := h.ready(r.Context(), id, connect)
	if err != nil {
		return err
	}
	answer, err := s.call(r.Context(), m, response)
	if err != nil {
		return err
	}
	h.log.Info("method is answered", "device", id, "method", m.Name, "status", answer.Status)
	return writeJSON(w, http.StatusOK, answer)
}

// readMethod reads and checks the body. A device gets null for a payload that is not there.
func readMethod(r *http.Request) (method, error) {
	m := method{Payload: json.RawMessage("null"), ResponseTimeout: new(usualMethodTimeout)}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, twin.Malformed.With("not a method: %v", err)
	}
	if m.ResponseTimeout == nil {
		m.ResponseTimeout = new(usualMethodTimeout)
	}
	timeout := *m.ResponseTimeout
	switch {
	case !validMethodName(m.Name):
		return m, twin.ArgumentInvalid.With("methodName must have 1 to %d bytes, and none of / + # or control characters", maxMethodName)
	case timeout < minMethodTimeout || timeout > maxMethodTimeout:
		return m, twin.ArgumentInvalid.With("responseTimeoutInSeconds must be from %d to %d", minMethodTimeout, maxMethodTimeout)
	case m.ConnectTimeout < 0 || m.ConnectTimeout > maxMethodTimeout:
		return m, twin.ArgumentInvalid.With("connectTimeoutInSeconds must be from 0 to %d", maxMethodTimeout)
	case len(m.Payload) > maxMethodPayload:
		return m, twin.TooLarge.With("the payload has %d bytes, %d are allowed", len(m.Payload), maxMethodPayload)
	}
	return m, nil
}

// validMethodName tells whether a name can stand in a topic.
func validMethodName(name string) bool {
	return name != "" && len(name) <= maxMethodName && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || r == unicode.ReplacementChar || strings.ContainsRune("/+#", r)
	})
}

// arrived wakes those who wait for a device, if one has begun to take methods.
func (h *Hub) arrived(begun subscriptions) {
	if begun&subMethods == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.arrival)
	h.arrival = make(chan struct{})
}

// ready answers the session of a device that takes methods; it waits for it so long.
func (h *Hub) ready(ctx context.Context, device string, wait time.Duration) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		h.mu.Lock()
		s, arrival := h.sessions[device], h.arrival
		h.mu.Unlock()
		if s != nil && s.subscribed(subMethods) {
			return s, nil
		}
		select {
		case <-arrival:
		case <-ctx.Done():
			return nil, twin.DeviceNotOnline
		}
	}
}

// call publishes a method and waits for the device's answer.
func (s *session) call(ctx context.Context, m method, timeout time.Duration) (methodAnswer, error) {
	rid, answers := s.calls.begin()
	if answers == nil {
		return methodAnswer{}, twin.Throttled.With("%d methods wait for the device already", maxCalls)
	}
	defer s.calls.end(rid)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	topic := strings.TrimSuffix(iothub.TopicMethods, "#") + m.Name + "/?$rid=" + rid
	out := s.out
	for {
		select {
		case out <- message(topic, m.Payload):
			out = nil // once
		case a := <-answers:
			return a, a.err
		case <-s.done:
			return methodAnswer{}, twin.DeviceClosed
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return methodAnswer{}, twin.NoAnswer
			}
			return methodAnswer{}, twin.DeviceClosed // by the hub, or nobody waits any more
		}
	}
}

// answered hands an answer to whoever waits for it; the device may take longer than they do.
func (s *session) answered(r request, payload []byte) {
	a := methodAnswer{Status: r.status, Payload: payload}
	switch {
	case len(payload) == 0:
		a.Payload = json.RawMessage("null")
	case len(payload) > maxMethodPayload:
		a.err = twin.BadAnswer.With("the device's answer has %d bytes, %d are allowed", len(payload), maxMethodPayload)
	case !json.Valid(payload):
		a.err = twin.BadAnswer.With("the device's answer is not JSON")
	}
	if !s.calls.answer(r.rid, a) {
		s.log.Info("nobody waits for the answer to a method", "status", r.status)
	}
}

// calls are the methods that wait for the answer of a device.
type calls struct {
	mu      sync.Mutex
	last    uint64
	waiting map[string]chan methodAnswer // by request id
}

// begin gives a call its request id, and the channel of its answer: nil if there are too many.
func (c *calls) begin() (rid string, answers chan methodAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= maxCalls {
		return "", nil
	}
	if c.waiting == nil { // an answer to an earlier connection's call must answer none of this one's
		c.waiting, c.last = map[string]chan methodAnswer{}, rand.Uint64()
	}
	c.last++
	rid, answers = strconv.FormatUint(c.last, 16), make(chan methodAnswer, 1)
	c.waiting[rid] = answers
	return rid, answers
}

func (c *calls) end(rid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, rid)
}

// answer answers a call once; false if nobody waits for it.
func (c *calls) answer(rid string, a methodAnswer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	answers := c.waiting[rid]
	if answers == nil {
		return false
	}
	delete(c.waiting, rid)
	answers <- a
	return true
}
