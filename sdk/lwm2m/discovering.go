package lwm2m

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"
)

// attributes are the notification attributes of one path; nil is unset.
type attributes struct{ pmin, pmax *time.Duration }

// writeAttributes takes pmin and pmax, in seconds; without a value an attribute
// is unset (OMA LwM2M 1.1 section 5.1.2).
func (c *Client) writeAttributes(p Path, query []string) (*Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.attributes[p]
	for name, value := range queries(query) {
		d, err := parsePeriod(value)
		if err != nil {
			return nil, err
		}
		switch name {
		case "pmin":
			a.pmin = d
		case "pmax":
			a.pmax = d
		default:
			return nil, Errorf(CodeBadRequest, "the attribute %.20q is not supported", name)
		}
	}
	c.attributes[p] = a
	for _, w := range c.watches {
		if p.Contains(w.path) {
			w.reconsider()
		}
	}
	return &Message{Code: CodeChanged}, nil
}

func parsePeriod(value string) (*time.Duration, error) {
	if value == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return nil, Errorf(CodeBadRequest, "%.20q is not a number of seconds", value)
	}
	return new(time.Duration(seconds) * time.Second), nil
}

// periods are the effective ones of p: the most specific level counts. A pmax of
// zero or below pmin does not count.
func (c *Client) periods(p Path) (pmin, pmax time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for depth := DepthObject; depth <= p.Depth(); depth++ {
		a := c.attributes[p.Prefix(depth)]
		if a.pmin != nil {
			pmin = *a.pmin
		}
		if a.pmax != nil {
			pmax = *a.pmax
		}
	}
	if pmax < pmin {
		pmax = 0
	}
	return pmin, pmax
}

// discover lists p and what lies under it down to the resources, with attributes
// (OMA LwM2M 1.1 section 6.3.2).
func (c *Client) discover(ctx context.Context, p Path) (*Message, error) {
	paths := []Path{p}
	if p.Depth() == DepthObject {
		for _, instance := range c.objects[p.Object()].Instances() {
			paths = append(paths, p.Child(instance))
		}
	}
	var links []Link
	for _, q := range paths {
		links = append(links, c.discoveryLink(q))
		if q.Depth() != DepthInstance {
			continue
		}
		resources, err := c.resources(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range resources {
			links = append(links, c.discoveryLink(r))
		}
	}
	return &Message{Code: CodeContent, Format: new(FormatLink), Payload: EncodeLinks(links)}, nil
}

func (c *Client) discoveryLink(p Path) Link {
	l := Link{Target: p.String(), Attributes: map[string]string{}}
	if p.Depth() == DepthObject {
		maps.Copy(l.Attributes, c.objectLink(p.Object()).Attributes)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.attributes[p]
	for name, d := range map[string]*time.Duration{"pmin": a.pmin, "pmax": a.pmax} {
		if d != nil {
			l.Attributes[name] = strconv.FormatInt(int64(*d/time.Second), 10)
		}
	}
	return l
}

// resources of an instance: those with a value, and those that have none to read.
func (c *Client) resources(ctx context.Context, p Path) ([]Path, error) {
	records, err := c.read(ctx, p)
	if err != nil {
		return nil, err
	}
	var paths []Path
	for _, r := range records {
		paths = append(paths, r.Path.Prefix(DepthResource))
	}
	for _, r := range c.model[p.Object()].Resources {
		if r.Operations != 0 && r.Operations&R == 0 {
			paths = append(paths, p.Child(r.ID))
		}
	}
	slices.SortFunc(paths, Path.Compare)
	return slices.Compact(paths), nil
}
