package lwm2m

import (
	"context"
	"errors"
	"slices"
	"time"
)

const securityObject = 0

// clientHandler keeps the Handler's methods out of the Client's API.
type clientHandler struct{ *Client }

// ServeNotification implements [Handler]; a device observes nothing.
func (c clientHandler) ServeNotification(_ string, _ *Message, done func(Reception)) { done(Refused) }

// PeerGone implements [PeerWatcher]: an update shows whether the server is there.
func (c clientHandler) PeerGone(peer string) {
	c.mu.Lock()
	mine := c.peer == peer
	c.mu.Unlock()
	if mine {
		c.updateSoon()
	}
}

// doubtPause is the shortest time between two doubts that count: anybody may raise them.
const doubtPause = time.Minute

// PeerDoubted implements [PeerDoubter]: another session shows whether the server is there.
func (c clientHandler) PeerDoubted(peer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == peer && time.Since(c.doubted) >= doubtPause {
		c.doubted = time.Now()
		signal(c.doubt)
		c.interrupt(errDoubted)
	}
}

// ServeRequest implements [Handler]: the operations of the device's server (OMA
// LwM2M 1.1 section 6.3 and 6.4).
func (c clientHandler) ServeRequest(ctx context.Context, peer string, m *Message) *Message {
	defer c.stirred()
	answer, err := c.answer(ctx, peer, m)
	if err != nil {
		c.logger.Debug("refused a request", "peer", peer, "path", m.Path, "error", err)
		return errorMessage(err)
	}
	return answer
}

func (c *Client) answer(ctx context.Context, peer string, m *Message) (*Message, error) {
	c.mu.Lock()
	known := c.peer == peer
	c.mu.Unlock()
	if !known {
		return nil, Errorf(CodeUnauthorized, "this device belongs to another server")
	}
	if m.Code == Fetch || m.Code == IPatch {
		return c.answerComposite(ctx, m)
	}
	p, err := c.target(m.Path)
	if err != nil {
		return nil, err
	}
	switch {
	case m.Code == Get && m.Accept != nil && *m.Accept == FormatLink:
		return c.discover(ctx, p)
	case m.Code == Get && m.Observe != nil:
		return c.observe(ctx, p, m)
	case m.Code == Get:
		return c.readAnswer(ctx, p, m)
	case m.Code == Put && m.Format == nil && len(m.Payload) == 0 && len(m.Query) > 0:
		return c.writeAttributes(p, m.Query)
	case m.Code == Put:
		return c.write(ctx, p, Replace, m)
	case m.Code == Post && p.Depth() == DepthResource && (c.operations(p)&E != 0 || m.Format == nil):
		return c.execute(ctx, p, m)
	case m.Code == Post && p.Depth() >= DepthInstance:
		return c.write(ctx, p, Update, m)
	case m.Code == Post:
		return c.create(ctx, p, m)
	case m.Code == Delete:
		return c.deleteInstance(ctx, p)
	}
	return nil, Errorf(CodeMethodNotAllowed, "%v does not allow this operation", p)
}

// target finds what the request is about: an object, or deeper, that is there.
func (c *Client) target(segments []string) (Path, error) {
	p, err := pathFromSegments(segments)
	if err != nil {
		return p, Errorf(CodeNotFound, "no such path")
	}
	switch object, ok := c.objects[p.Object()]; {
	case p.Depth() == DepthRoot:
		return p, Errorf(CodeMethodNotAllowed, "the root does not allow this operation")
	case p.Object() == securityObject:
		return p, Errorf(CodeUnauthorized, "object 0 is not for servers")
	case !ok:
		return p, Errorf(CodeNotFound, "%v: no such object", p)
	case p.Depth() >= DepthInstance && !slices.Contains(object.Instances(), p.Instance()):
		return p, Errorf(CodeNotFound, "%v: no such instance", p)
	}
	if _, ok := c.model.Resource(p); p.Depth() >= DepthResource && !ok {
		return p, Errorf(CodeNotFound, "%v: no such resource", p)
	}
	return p, nil
}

func (c *Client) operations(p Path) Operations {
	r, _ := c.model.Resource(p)
	return r.Operations
}

func (c *Client) readAnswer(ctx context.Context, p Path, m *Message) (*Message, error) {
	f := FormatTLV
	if m.Accept != nil {
		f = *m.Accept
	}
	records, err := c.read(ctx, p)
	if err != nil {
		return nil, err
	}
	payload, err := Encode(f, p, oneTime(records))
	return &Message{Code: CodeContent, Format: &f, Payload: payload}, err
}

// read gives the readable values under p in order.
func (c *Client) read(ctx context.Context, p Path) ([]Record, error) {
	if p.Depth() >= DepthResource && c.operations(p)&R == 0 {
		return nil, Errorf(CodeMethodNotAllowed, "%v cannot be read", p)
	}
	all, err := c.collect(ctx, p)
	if err != nil {
		return nil, err
	}
	records := slices.DeleteFunc(all, func(r Record) bool {
		return !isValueUnder(p, r.Path) || c.operations(r.Path)&R == 0
	})
	if resource, _ := c.model.Resource(p); len(records) == 0 && p.Depth() >= DepthResource && !(resource.Multiple && p.Depth() == DepthResource) {
		return nil, Errorf(CodeNotFound, "%v has no value", p)
	}
	slices.SortFunc(records, func(a, b Record) int { return a.Path.Compare(b.Path) })
	return conform(records, c.model)
}

// oneTime has all that is read together be of one time, or of none: servers take what
// has several for a history, which only Send may tell. What is of one instance and has
// no time shares that of the rest.
func oneTime(records []Record) []Record {
	of := map[Path]time.Time{}
	for _, r := range records {
		if instance := r.Path.Prefix(DepthInstance); of[instance].IsZero() {
			of[instance] = r.Time
		}
	}
	out := slices.Clone(records)
	same := true
	for i, r := range out {
		if r.Time.IsZero() {
			out[i].Time = of[r.Path.Prefix(DepthInstance)]
		}
		same = same && out[i].Time.Equal(out[0].Time)
	}
	if !same {
		for i := range out {
			out[i].Time = time.Time{}
		}
	}
	return out
}

// collect asks the object for p or, if p is the object, for all its instances.
func (c *Client) collect(ctx context.Context, p Path) ([]Record, error) {
	object := c.objects[p.Object()]
	if p.Depth() > DepthObject {
		records, err := object.Read(ctx, p)
		return slices.Clone(records), err
	}
	var all []Record
	var refused error
	for _, instance := range object.Instances() {
		records, err := object.Read(ctx, p.Child(instance))
		switch {
		case errors.Is(err, &Error{Code: CodeUnauthorized}): // the others, if any, are the answer
			refused = err
		case err != nil:
			return nil, err
		}
		all = append(all, records...)
	}
	if len(all) == 0 {
		return nil, refused
	}
	return all, nil
}

func (c *Client) write(ctx context.Context, p Path, mode WriteMode, m *Message) (*Message, error) {
	if p.Depth() < DepthInstance {
		return nil, Errorf(CodeMethodNotAllowed, "%v cannot be written as a whole", p)
	}
	f := FormatText
	if m.Format != nil {
		f = *m.Format
	}
	records, err := Decode(f, p, m.Payload, c.model)
	if err != nil {
		return nil, err
	}
	if p.Depth() >= DepthResource && c.operations(p)&W == 0 {
		return nil, Errorf(CodeMethodNotAllowed, "%v cannot be written", p)
	}
	for _, r := range records {
		if err := c.checkWrite(r.Path); err != nil {
			return nil, err
		}
	}
	if err := c.objects[p.Object()].Write(ctx, p, mode, records); err != nil {
		return nil, err
	}
	c.Changed(p)
	return &Message{Code: CodeChanged}, nil
}

func (c *Client) checkWrite(p Path) error {
	r, ok := c.model.Resource(p)
	switch {
	case !ok:
		return Errorf(CodeNotFound, "%v: no such resource", p)
	case r.Operations&W == 0:
		return Errorf(CodeMethodNotAllowed, "%v cannot be written", p)
	case r.Multiple != (p.Depth() == DepthResourceInstance):
		return Errorf(CodeBadRequest, "%v: a value needs a resource instance if and only if the resource is multiple", p)
	}
	return nil
}

func (c *Client) execute(ctx context.Context, p Path, m *Message) (*Message, error) {
	if c.operations(p)&E == 0 {
		return nil, Errorf(CodeMethodNotAllowed, "%v cannot be executed", p)
	}
	if m.Format != nil && *m.Format != FormatText {
		return nil, Errorf(CodeUnsupportedFormat, "arguments are text")
	}
	if err := c.objects[p.Object()].Execute(ctx, p, string(m.Payload)); err != nil {
		return nil, err
	}
	return &Message{Code: CodeChanged}, nil
}
