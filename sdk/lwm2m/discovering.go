package lwm2m

import (
	"context"
	"maps"
	"slices"
	"strconv"
)

// discover lists p and what lies under it down to the resources, with attributes;
// of a multiple resource also its instances, and how many there are (OMA LwM2M 1.1
// section 6.3.2).
func (c *Client) discover(ctx context.Context, p Path) (*Message, error) {
	if resource, _ := c.model.Resource(p); p.Depth() == DepthResource && resource.Multiple {
		return c.discoverMultiple(ctx, p)
	}
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

func (c *Client) discoverMultiple(ctx context.Context, p Path) (*Message, error) {
	records, err := c.read(ctx, p)
	if err != nil {
		return nil, err
	}
	links := []Link{c.discoveryLink(p)}
	links[0].Attributes["dim"] = strconv.Itoa(len(records))
	for _, r := range records {
		links = append(links, c.discoveryLink(r.Path))
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
	maps.Copy(l.Attributes, c.attributes[p].links())
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
