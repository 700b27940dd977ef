package lwm2m

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Composite operations name several paths, of any objects, in one request on the
// root (OMA LwM2M 1.1 sections 6.3.3, 6.3.5 and 6.4.4).

// ReadComposite reads several paths at once. What the device does not have, or
// does not give, is missing in the result. Only devices of LwM2M 1.1 know it.
func (d *Device) ReadComposite(ctx context.Context, paths ...Path) ([]Record, error) {
	return d.fetch(ctx, &Message{}, paths)
}

// WriteComposite writes values of several resources at once: all of them or none.
// What is not named stays as it is. Only devices of LwM2M 1.1 know it.
func (d *Device) WriteComposite(ctx context.Context, records []Record) error {
	_, err := d.send(ctx, Path{}, &Message{Code: IPatch}, d.compositeFormat(), records)
	return err
}

// ObserveComposite observes several paths as one: each notification has all of
// them. Otherwise it is as [Device.Observe].
func (d *Device) ObserveComposite(ctx context.Context, paths []Path, notify func([]Record)) ([]Record, error) {
	if len(paths) < 2 {
		return nil, errors.New("cannot observe less than two paths as one")
	}
	o := newObservation(d, compositeKey(paths), paths, notify)
	return d.observe(ctx, o, func(m *Message) ([]Record, error) { return d.fetch(ctx, m, paths) })
}

// CancelObserveComposite ends the observation of these paths, as
// [Device.CancelObserve] does that of one.
func (d *Device) CancelObserveComposite(ctx context.Context, paths []Path) error {
	o, err := d.endObservation(compositeKey(paths))
	if err == nil {
		_, err = d.fetch(ctx, &Message{Token: []byte(o.token), Observe: new(uint32(1))}, paths)
	}
	return err
}

func compositeKey(paths []Path) string {
	words := make([]string, len(paths))
	for i, p := range paths {
		words[i] = p.String()
	}
	return strings.Join(words, " ")
}

// compositeFormat is the device's format if it can hold paths of several objects.
func (d *Device) compositeFormat() Format {
	if f := d.Registration().format; f == FormatSenMLJSON || f == FormatSenMLCBOR {
		return f
	}
	return FormatSenMLJSON
}

// fetch sends m with a list of paths and decodes the values it gets.
func (d *Device) fetch(ctx context.Context, m *Message, paths []Path) ([]Record, error) {
	f := d.compositeFormat()
	var err error
	if m.Payload, err = EncodePaths(f, paths); err != nil {
		return nil, err
	}
	m.Code, m.Format, m.Accept = Fetch, &f, &f
	answer, err := d.request(ctx, Path{}, m)
	if err != nil {
		return nil, err
	}
	m.Observe = answer.Observe
	return d.decode(Path{}, answer)
}

// answerComposite is the device's side.
func (c *Client) answerComposite(ctx context.Context, m *Message) (*Message, error) {
	switch {
	case len(m.Path) > 0:
		return nil, Errorf(CodeMethodNotAllowed, "composite operations are for the root")
	case m.Format == nil:
		return nil, Errorf(CodeUnsupportedFormat, "the payload has no content format")
	case m.Code == IPatch:
		return c.writeComposite(ctx, m)
	}
	paths, err := DecodePaths(*m.Format, m.Payload)
	if err != nil {
		return nil, err
	}
	w := &watch{paths: paths, composite: true, format: *m.Format}
	if m.Observe != nil {
		return c.observeAs(ctx, w, m)
	}
	if m.Accept != nil {
		w.format = *m.Accept
	}
	payload, _, err := c.readWatched(ctx, w)
	return &Message{Code: CodeContent, Format: &w.format, Payload: payload}, err
}

// readComposite gives the values under all paths in order. Paths that cannot be
// read do not count, unless there is no other.
func (c *Client) readComposite(ctx context.Context, paths []Path) ([]Record, error) {
	var all []Record
	var refused error
	for _, p := range paths {
		_, err := c.target(p.segments())
		if err == nil {
			var records []Record
			records, err = c.read(ctx, p)
			all = append(all, records...)
		}
		if err != nil {
			refused = err
		}
	}
	if len(all) == 0 && refused != nil {
		return nil, refused
	}
	slices.SortFunc(all, func(a, b Record) int { return a.Path.Compare(b.Path) })
	return slices.CompactFunc(all, func(a, b Record) bool { return a.Path == b.Path }), nil
}

// writeComposite checks everything before it writes anything. If an object
// refuses its part all the same, those before it get back what they had.
func (c *Client) writeComposite(ctx context.Context, m *Message) (*Message, error) {
	records, err := Decode(*m.Format, Path{}, m.Payload, c.model)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(records, func(a, b Record) int { return a.Path.Compare(b.Path) })
	for _, r := range records {
		if _, err := c.target(r.Path.segments()); err != nil {
			return nil, err
		}
		if err := c.checkWrite(r.Path); err != nil {
			return nil, err
		}
	}
	var undo []func()
	for part := range parts(records) {
		p := part[0].Path.Prefix(DepthInstance)
		before := c.written(ctx, p, part)
		object := c.objects[p.Object()]
		if err := object.Write(ctx, p, Update, part); err != nil {
			for _, back := range slices.Backward(undo) {
				back()
			}
			return nil, err
		}
		undo = append(undo, func() {
			if err := object.Write(context.WithoutCancel(ctx), p, Update, before); err != nil {
				c.logger.Error("cannot take back a part of a composite write", "path", p.String(), "error", err)
			}
			c.Changed(p)
		})
		c.Changed(p)
	}
	return &Message{Code: CodeChanged}, nil
}

// parts splits sorted records by their instance.
func parts(records []Record) func(yield func([]Record) bool) {
	return func(yield func([]Record) bool) {
		for len(records) > 0 {
			p := records[0].Path.Prefix(DepthInstance)
			n := slices.IndexFunc(records, func(r Record) bool { return !p.Contains(r.Path) })
			if n < 0 {
				n = len(records)
			}
			if !yield(records[:n]) {
				return
			}
			records = records[n:]
		}
	}
}

// written are the present values, as far as they can be read, of what is about to
// be written.
func (c *Client) written(ctx context.Context, p Path, part []Record) []Record {
	present, err := c.read(ctx, p)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(present, func(r Record) bool {
		return !slices.ContainsFunc(part, func(w Record) bool { return w.Path == r.Path })
	})
}
