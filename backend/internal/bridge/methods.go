package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// Limits of direct methods. Nobody waits longer for one than an IoT hub does, nor
// takes longer answers.
const (
	methodTimeout   = 300 * time.Second
	maxMethodAnswer = 128 << 10 // bytes
	maxMethods      = 16        // at work for one device
)

// A method does one thing with a device.
type method struct {
	verb   string // of CoAP, for people
	depths []int  // of the path; none: it has several paths
	alters bool   // more than what is notified
	do     func(*session, context.Context, *lwm2m.Device, operation) (any, error)
}

// methods are known by their names in lower case: of most LwM2M servers with a
// direct way in, and those of Microsoft's sample bridge of 2017.
var methods = map[string]method{
	"read":             {"GET", []int{1, 2, 3, 4}, false, (*session).readNow},
	"write":            {"PUT", []int{2, 3, 4}, true, (*session).writeNow},
	"execute":          {"POST", []int{3}, true, (*session).executeNow},
	"observe":          {"OBSERVE", []int{1, 2, 3}, false, (*session).observeNow},
	"cancel-observe":   {"CANCEL", []int{1, 2, 3}, false, (*session).cancelObserve},
	"discover":         {"DISCOVER", []int{1, 2, 3}, false, (*session).discover},
	"write-attributes": {"PUT", []int{1, 2, 3}, true, (*session).writeAttributes},
	"create":           {"POST", []int{1, 2}, true, (*session).create},
	"delete":           {"DELETE", []int{2}, true, (*session).deleteInstance},
	"read-composite":   {"FETCH", nil, false, (*session).readComposite},
	"write-composite":  {"iPATCH", nil, true, (*session).writeComposite},
}

var otherNames = map[string]string{
	"lwm2m_get": "read", "lwm2m_write": "write", "lwm2m_execute": "execute", "lwm2m_observe": "observe",
}

// methodNamed finds a method by any of its names, whose case does not count.
func methodNamed(name string) (method, bool) {
	name = strings.ToLower(name)
	if other, is := otherNames[name]; is {
		name = other
	}
	m, known := methods[name]
	return m, known
}

// A refusal of a method that never got to the device.
type methodError struct {
	status int // of HTTP
	text   string
}

func (e methodError) Error() string { return e.text }

func badMethod(format string, args ...any) error {
	return methodError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// A methodResult is the payload of an answer.
type methodResult struct {
	Request  string `json:"request,omitempty"` // as in "GET /3/0/9"
	Response any    `json:"response,omitempty"`
	Error    string `json:"error,omitempty"`
}

// callers counts the methods at work. The session's lock guards it, and running
// grows under that only.
type callers struct {
	count   int
	ended   bool
	running sync.WaitGroup
}

// invoked begins to answer a direct method, beside all else that the session does.
func (s *session) invoked(call invocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callers.ended {
		return
	}
	if s.callers.count >= maxMethods {
		body, _ := json.Marshal(methodResult{Error: fmt.Sprintf("%d methods are at work for this device already", maxMethods)})
		s.link.respond(call.id, http.StatusTooManyRequests, body)
		return
	}
	s.callers.count++
	s.callers.running.Go(func() {
		s.answer(call)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.callers.count--
	})
}

// endMethods waits until no method is at work, and begins no other.
func (s *session) endMethods() {
	s.mu.Lock()
	s.callers.ended = true
	s.mu.Unlock()
	s.callers.running.Wait()
}

// answer does what a method asks for and says how that went.
func (s *session) answer(call invocation) {
	ctx, cancel := context.WithTimeout(s.life, methodTimeout)
	defer cancel()
	result := methodResult{}
	var err error
	result.Request, result.Response, err = s.perform(ctx, call)
	status := statusOf(err)
	if err != nil {
		result.Response, result.Error = nil, clip(err.Error())
	}
	body, err := json.Marshal(result)
	if err == nil && len(body) > maxMethodAnswer {
		err = fmt.Errorf("the answer has %d bytes, and a method's may have %d: ask for less at once", len(body), maxMethodAnswer)
		status = http.StatusRequestEntityTooLarge
	}
	if err != nil {
		body, _ = json.Marshal(methodResult{Request: result.Request, Error: err.Error()})
	}
	s.log.Info("method is answered", "method", call.name, "request", result.Request, "status", status)
	s.link.respond(call.id, status, body)
}

// perform finds out what is asked for and does it.
func (s *session) perform(ctx context.Context, call invocation) (request string, response any, err error) {
	m, known := methodNamed(call.name)
	if !known {
		names := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		return "", nil, methodError{http.StatusNotImplemented, fmt.Sprintf("there is no method %.40q: there are %s", call.name, names)}
	}
	o, err := readOperation(call.payload)
	if err == nil {
		err = s.permitted(m, o)
	}
	request = strings.TrimSpace(m.verb + " " + o.String())
	if err != nil {
		return request, nil, err
	}
	s.mu.Lock()
	d := s.device
	s.mu.Unlock()
	switch {
	case d == nil:
		return request, nil, methodError{http.StatusNotFound, "the device is not registered"}
	case !d.Awake():
		return request, nil, methodError{http.StatusServiceUnavailable, "the device sleeps: give the call a connectTimeoutInSeconds, or write what is wanted to the twin, where it waits"}
	}
	response, err = m.do(s, ctx, d, o)
	if err == nil && m.alters {
		s.altered(o.paths())
	}
	return request, response, err
}

// permitted says what is wrong with an operation before the device is asked.
func (s *session) permitted(m method, o operation) error {
	if o.DeviceID != "" && o.DeviceID != s.endpoint {
		return badMethod("this device is %s", s.endpoint)
	}
	if m.depths != nil && !slices.Contains(m.depths, o.Path.Depth()) {
		return badMethod(`"path" must name what is meant, as in %s`, [...]string{"", "/3", "/3/0", "/3/0/9", "/3/0/11/0"}[slices.Max(m.depths)])
	}
	for _, p := range o.paths() {
		switch {
		case p.Depth() == lwm2m.DepthRoot:
			return badMethod("the root cannot be meant: name an object or what is in it")
		case p.Object() == objects.SecurityID:
			return methodError{http.StatusForbidden, "no device shows this object, it has keys"}
		case m.alters && p.Object() == objects.ComponentUpdateID:
			return methodError{http.StatusForbidden, `what is asked of components stands in the twin, in "components"`}
		case m.alters && objectOf(p) != nil && s.busy.Load():
			return methodError{http.StatusConflict, "the device is being updated: cancel that first"}
		}
	}
	return nil
}

// altered has the session look again at what it updates devices by.
func (s *session) altered(paths []lwm2m.Path) {
	s.mu.Lock()
	for _, p := range paths {
		if objectOf(p) != nil {
			s.changed[p.Prefix(lwm2m.DepthInstance)] = true
		}
	}
	s.mu.Unlock()
	s.poke()
}

// statusOf is what an HTTP server would answer: for a CoAP code its class and its
// detail.
func statusOf(err error) int {
	if e, is := errors.AsType[methodError](err); is {
		return e.status
	}
	if e, is := errors.AsType[*lwm2m.Error](err); is {
		return int(e.Code>>5)*100 + int(e.Code&31)
	}
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, lwm2m.ErrGone):
		return http.StatusNotFound
	case errors.Is(err, lwm2m.ErrUnreachable):
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// An operation is the payload of a method. The names that are not in its comments
// are those of Microsoft's sample bridge.
type operation struct {
	Path lwm2m.Path // "path": "/3/0/9" or "3.0.9"

	Value      any                     // of a resource; of several by id: {"14": "+01:00", "11": {"0": 1}}
	Values     map[string]any          // by path
	Paths      []lwm2m.Path            // of a composite read
	Type       string                  // of Value, if nobody knows it: "opaque", say
	Mode       string                  // of a write: "replace", or "update", which leaves what is not named
	Arguments  string                  // of an execute: "0='x'"
	Attributes map[string]*json.Number // pmin, pmax, gt, lt, st; null removes one
	DeviceID   string
}

// readOperation reads a payload.
func readOperation(payload []byte) (o operation, err error) {
	var fields struct {
		Path, ResourceURI, DeviceID string
		Value, NewValue             any
		Values                      map[string]any
		Paths                       []string
		Type, Mode                  string
		Arguments, ExecuteParams    string
		Attributes                  map[string]*json.Number
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return o, badMethod(`the payload must be an object such as {"path": "/3/0/9"}: %v`, err)
	}
	o = operation{
		Value: fields.Value, Values: fields.Values, Type: fields.Type, Mode: fields.Mode,
		Arguments: fields.Arguments + fields.ExecuteParams, Attributes: fields.Attributes, DeviceID: fields.DeviceID,
	}
	if o.Value == nil {
		o.Value = fields.NewValue
	}
	if o.Path, err = parseDotted(fields.Path + fields.ResourceURI); err != nil {
		return o, err
	}
	for _, text := range slices.Concat(fields.Paths, slices.Sorted(maps.Keys(fields.Values))) {
		p, err := parseDotted(text)
		if err != nil {
			return o, err
		}
		o.Paths = append(o.Paths, p)
	}
	return o, nil
}

// parseDotted reads a path also as some write it, "3.0.9".
func parseDotted(text string) (lwm2m.Path, error) {
	p, err := lwm2m.ParsePath(strings.ReplaceAll(text, ".", "/"))
	if err != nil {
		return p, badMethod("%v", err)
	}
	return p, nil
}

// paths are all that the operation names.
func (o operation) paths() []lwm2m.Path {
	if o.Path.Depth() == lwm2m.DepthRoot {
		return o.Paths
	}
	return append([]lwm2m.Path{o.Path}, o.Paths...)
}

// String names what the operation is about.
func (o operation) String() string {
	var words []string
	for _, p := range o.paths() {
		words = append(words, p.String())
	}
	return strings.Join(words, " ")
}
