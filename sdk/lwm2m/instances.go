package lwm2m

import (
	"context"
	"slices"
	"strconv"
)

// InstanceManager is an [Object] whose instances a server may create and delete.
// The Client has checked what it checks for a write, and that the instance is
// free, or is there.
type InstanceManager interface {
	Object
	// Create makes the instance with these values, perhaps none. It does all of it
	// or nothing.
	Create(ctx context.Context, instance uint16, records []Record) error
	// Delete removes the instance.
	Delete(ctx context.Context, instance uint16) error
}

// Create makes a new instance of an object and gives its path. If p is the
// instance, it gets this id; if p is the object, the device chooses, and the
// instance id in the records' paths does not count.
func (d *Device) Create(ctx context.Context, p Path, records []Record) (Path, error) {
	object := p.Prefix(DepthObject)
	f, base := d.Registration().format, object
	if p.Depth() == DepthObject { // only TLV can leave out the instance
		f, base = FormatTLV, object.Child(0)
		records = slices.Clone(records)
		for i, r := range records {
			records[i].Path = r.Path.in(base)
		}
	}
	records, err := conform(records, d.model())
	if err != nil {
		return Path{}, err
	}
	payload, err := Encode(f, base, records)
	if p.Depth() > DepthObject && len(records) == 0 { // only TLV can name an instance without values
		f = FormatTLV
		payload, err = appendTLV(nil, tlvInstance, p.Instance(), nil)
	}
	if err != nil {
		return Path{}, err
	}
	answer, err := d.request(ctx, object, &Message{Code: Post, Format: &f, Payload: payload})
	if err != nil || p.Depth() > DepthObject {
		return p, err
	}
	n := len(answer.Location)
	if n < 2 {
		return Path{}, Errorf(CodeInternal, "%s does not say which instance it created", d.endpoint)
	}
	return pathFromSegments(answer.Location[n-2:])
}

// in is the path moved to another instance of its object.
func (p Path) in(instance Path) Path {
	copy(p.ids[:2], instance.ids[:2])
	return p
}

// Delete removes an instance.
func (d *Device) Delete(ctx context.Context, p Path) error {
	_, err := d.request(ctx, p, &Message{Code: Delete})
	return err
}

// create answers a Create request (OMA LwM2M 1.1 section 6.3.7).
func (c *Client) create(ctx context.Context, p Path, m *Message) (*Message, error) {
	object, ok := c.objects[p.Object()].(InstanceManager)
	if !ok {
		return nil, Errorf(CodeMethodNotAllowed, "instances of %v cannot be created", p)
	}
	c.creating.Lock() // the id is free until it is taken
	defer c.creating.Unlock()
	target, records, err := c.decodeCreate(p, m, object.Instances())
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if err := c.checkWrite(r.Path); err != nil {
			return nil, err
		}
	}
	if err := object.Create(ctx, target.Instance(), records); err != nil {
		return nil, err
	}
	c.Changed(target)
	c.updateSoon()
	location := []string{strconv.Itoa(int(p.Object())), strconv.Itoa(int(target.Instance()))}
	return &Message{Code: CodeCreated, Location: location}, nil
}

// decodeCreate finds out which instance the request names, or else takes the
// lowest free one.
func (c *Client) decodeCreate(p Path, m *Message, taken []uint16) (target Path, records []Record, err error) {
	f := FormatTLV
	if m.Format != nil {
		f = *m.Format
	}
	named := f != FormatTLV || len(m.Payload) > 0 && m.Payload[0]>>6 == tlvInstance
	if len(m.Payload) == 0 || !named {
		if target, err = freeInstance(p, taken); err != nil || len(m.Payload) == 0 {
			return target, nil, err
		}
		records, err = Decode(f, target, m.Payload, c.model)
		return target, records, err
	}
	records, err = Decode(f, p, m.Payload, c.model)
	switch {
	case err != nil:
		return p, nil, err
	case len(records) == 0 && f == FormatTLV: // an instance without values
		kind, id, _, rest, err := splitTLV(m.Payload)
		if err != nil || kind != tlvInstance || len(rest) > 0 {
			return p, nil, Errorf(CodeBadRequest, "the payload is not one instance")
		}
		target = p.Child(id)
	case len(records) == 0:
		return p, nil, Errorf(CodeBadRequest, "the payload names no instance")
	default:
		target = records[0].Path.Prefix(DepthInstance)
	}
	switch {
	case slices.Contains(taken, target.Instance()):
		return p, nil, Errorf(CodeBadRequest, "%v is there already", target)
	case slices.ContainsFunc(records, func(r Record) bool { return !target.Contains(r.Path) }):
		return p, nil, Errorf(CodeBadRequest, "the payload has more than one instance")
	}
	return target, records, nil
}

func freeInstance(p Path, taken []uint16) (Path, error) {
	for id := range uint16(65535) {
		if !slices.Contains(taken, id) {
			return p.Child(id), nil
		}
	}
	return p, Errorf(CodeBadRequest, "there is no free instance of %v", p)
}

// deleteInstance answers a Delete request (OMA LwM2M 1.1 section 6.3.8).
func (c *Client) deleteInstance(ctx context.Context, p Path) (*Message, error) {
	object, ok := c.objects[p.Object()].(InstanceManager)
	if !ok || p.Depth() != DepthInstance {
		return nil, Errorf(CodeMethodNotAllowed, "%v cannot be deleted", p)
	}
	if err := object.Delete(ctx, p.Instance()); err != nil {
		return nil, err
	}
	c.mu.Lock()
	for q := range c.attributes {
		if p.Contains(q) {
			delete(c.attributes, q)
		}
	}
	c.mu.Unlock()
	c.Changed(p)
	c.updateSoon()
	return &Message{Code: CodeDeleted}, nil
}
