package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	id := identity(r)
	m, err := readMethod(r)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	err = errors.Join(
		control.SetReadDeadline(time.Time{}), // the server's would end the request, which has been read
		control.SetWriteDeadline(time.Now().Add(m.connect()+m.response()+writeTimeout)),
	)
	if err != nil {
		return err
	}
	answer, err := h.invoke(r.Context(), id, m)
	if err != nil {
		return err
	}
	h.log.Info("method is answered", "device", id, "method", m.Name, "status", answer.Status)
	return writeJSON(w, http.StatusOK, answer)
}

func (m method) connect() time.Duration  { return time.Duration(m.ConnectTimeout) * time.Second }
func (m method) response() time.Duration { return time.Duration(*m.ResponseTimeout) * time.Second }

// invoke has a device do something, at whichever hub it is, and waits for it if it is at none.
func (h *Hub) invoke(ctx context.Context, id string, m method) (methodAnswer, error) {
	connect, cancel := context.WithTimeout(ctx, m.connect())
	defer cancel()
	for {
		answer, err := h.tryInvoke(ctx, connect, id, m)
		if err != errAgain {
			return answer, err
		}
	}
}

var errAgain = errors.New("the device has come")

func (h *Hub) tryInvoke(ctx, connect context.Context, id string, m method) (methodAnswer, error) {
	come, stop := h.expected.wait(id)
	defer stop()
	if s := h.session(id); s != nil && s.subscribed(subMethods) {
		return s.call(ctx, m, m.response())
	}
	d, err := h.store.Device(ctx, id)
	if err != nil {
		return methodAnswer{}, err
	}
	if node := d.Connection.Node; d.Connection.Connected && node != h.store.Node() {
		answer, err := h.askPeer(ctx, connect, node, id, m)
		if !errors.Is(err, twin.DeviceNotOnline) || connect.Err() != nil {
			return answer, err
		}
		pause(connect, peerRetry) // it is on its way to another hub
		return methodAnswer{}, errAgain
	}
	select {
	case <-come:
		return methodAnswer{}, errAgain
	case <-connect.Done():
		return methodAnswer{}, twin.DeviceNotOnline
	}
}

// readMethod reads and checks the body. A device gets null for a payload that is not there.
func readMethod(r *http.Request) (method, error) {
	var m method
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, twin.Malformed.With("not a method: %v", err)
	}
	return m, m.check()
}

// check checks a method, and completes what it does not say.
func (m *method) check() error {
	if m.ResponseTimeout == nil {
		m.ResponseTimeout = new(usualMethodTimeout)
	}
	if len(m.Payload) == 0 {
		m.Payload = json.RawMessage("null")
	}
	timeout := *m.ResponseTimeout
	switch {
	case !validMethodName(m.Name):
		return twin.ArgumentInvalid.With("methodName must have 1 to %d bytes, and none of / + # or control characters", maxMethodName)
	case timeout < minMethodTimeout || timeout > maxMethodTimeout:
		return twin.ArgumentInvalid.With("responseTimeoutInSeconds must be from %d to %d", minMethodTimeout, maxMethodTimeout)
	case m.ConnectTimeout < 0 || m.ConnectTimeout > maxMethodTimeout:
		return twin.ArgumentInvalid.With("connectTimeoutInSeconds must be from 0 to %d", maxMethodTimeout)
	case len(m.Payload) > maxMethodPayload:
		return twin.TooLarge.With("the payload has %d bytes, %d are allowed", len(m.Payload), maxMethodPayload)
	}
	return nil
}

// validMethodName tells whether a name can stand in a topic.
func validMethodName(name string) bool {
	return name != "" && len(name) <= maxMethodName && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || r == unicode.ReplacementChar || strings.ContainsRune("/+#", r)
	})
}

// expected are devices that somebody waits for.
type expected struct {
	mu      sync.Mutex
	waiting map[string]*arrival
}

type arrival struct {
	come    chan struct{}
	waiters int
}

// wait answers a channel that is closed when a device comes, or begins to take methods; stop ends the waiting.
func (e *expected) wait(id string) (come <-chan struct{}, stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.waiting[id]
	if w == nil {
		w = &arrival{come: make(chan struct{})}
		e.waiting[id] = w
	}
	w.waiters++
	return w.come, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if w.waiters--; w.waiters == 0 && e.waiting[id] == w {
			delete(e.waiting, id)
		}
	}
}

// arrived wakes those who wait for a device.
func (e *expected) arrived(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.waiting[id]; w != nil {
		close(w.come)
		delete(e.waiting, id)
	}
}

// peerRetry is between two questions to another hub about a device that is just moving.
const peerRetry = 200 * time.Millisecond

// question is what one hub asks another: a method for a device that is there.
type question struct {
	Device string
	Method method
}

// reply is the other's answer.
type reply struct {
	Answer  methodAnswer
	Refusal *twin.Error
}

// askPeer has another hub call a method; twin.DeviceNotOnline if the device is not there, or takes no methods within the
// time that is left of connect.
func (h *Hub) askPeer(ctx, connect context.Context, node, id string, m method) (methodAnswer, error) {
	if deadline, ok := connect.Deadline(); ok {
		m.ConnectTimeout = max(0, int(time.Until(deadline)/time.Second))
	}
	text, err := json.Marshal(question{id, m})
	if err != nil {
		return methodAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.connect()+m.response()+peerPause)
	defer cancel()
	text, err = h.store.Ask(ctx, node, text)
	if errors.Is(err, context.DeadlineExceeded) {
		return methodAnswer{}, twin.NoAnswer
	}
	if err != nil {
		return methodAnswer{}, err
	}
	var r reply
	if err := json.Unmarshal(text, &r); err != nil {
		return methodAnswer{}, fmt.Errorf("cannot understand another hub: %w", err)
	}
	if r.Refusal != nil {
		return methodAnswer{}, r.Refusal
	}
	return r.Answer, nil
}

// answerPeer calls a method for another hub.
func (h *Hub) answerPeer(ctx context.Context, text []byte) []byte {
	var q question
	var r reply
	if err := json.Unmarshal(text, &q); err != nil || q.Method.ResponseTimeout == nil {
		r.Refusal = twin.ServerError
	} else if answer, err := h.callHere(ctx, q.Device, q.Method); err != nil {
		r.Refusal = h.refusal(err)
	} else {
		r.Answer = answer
	}
	answer, err := json.Marshal(r)
	if err != nil {
		h.log.Error("cannot answer another hub", "error", err)
	}
	return answer
}

// callHere calls a method of a device that is at this hub.
func (h *Hub) callHere(ctx context.Context, id string, m method) (methodAnswer, error) {
	connect, cancel := context.WithTimeout(ctx, m.connect())
	defer cancel()
	for {
		come, stop := h.expected.wait(id)
		defer stop()
		s := h.session(id)
		if s == nil {
			return methodAnswer{}, twin.DeviceNotOnline
		}
		if s.subscribed(subMethods) {
			return s.call(ctx, m, m.response())
		}
		select {
		case <-come: // once: it takes methods now, or has come anew
		case <-s.done:
		case <-connect.Done():
			return methodAnswer{}, twin.DeviceNotOnline
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
