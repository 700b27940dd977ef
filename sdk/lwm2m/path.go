package lwm2m

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Path is the address of an object, an object instance, a resource or a resource
// instance: up to four ids, written "/3303/0/5700". The zero Path is the root,
// "/". Paths are comparable and may be map keys.
type Path struct {
	ids   [4]uint16
	depth uint8
}

// Depths of a Path: how many ids it has.
const (
	DepthRoot = iota
	DepthObject
	DepthInstance
	DepthResource
	DepthResourceInstance
)

// NewPath makes a path of up to four ids: object, instance, resource, resource
// instance. More than four is a mistake in the program and panics.
func NewPath(ids ...uint16) Path {
	var p Path
	for _, id := range ids {
		p = p.Child(id)
	}
	return p
}

// ParsePath reads "/3303/0/5700" or, without the leading slash, "3303/0/5700".
// Ids are decimal, 0 to 65534, without leading zeros; "/" and "" are the root.
func ParsePath(s string) (Path, error) {
	s = strings.TrimPrefix(s, "/")
	if s == "" {
		return Path{}, nil
	}
	return pathFromSegments(strings.Split(s, "/"))
}

func pathFromSegments(segments []string) (Path, error) {
	if len(segments) > DepthResourceInstance {
		return Path{}, fmt.Errorf("cannot parse path: %d levels, at most 4 are allowed", len(segments))
	}
	var p Path
	for _, s := range segments {
		id, err := strconv.ParseUint(s, 10, 16)
		if err != nil || id == 65535 || (len(s) > 1 && s[0] == '0') {
			return Path{}, fmt.Errorf("cannot parse path: %q is not an id from 0 to 65534", s)
		}
		p = p.Child(uint16(id))
	}
	return p, nil
}

// Depth tells how many ids the path has: 0 (root) to 4 (resource instance).
func (p Path) Depth() int { return int(p.depth) }

// Object is the object id; 0 if the path is the root.
func (p Path) Object() uint16 { return p.ids[0] }

// Instance is the object instance id; 0 if the path has none.
func (p Path) Instance() uint16 { return p.ids[1] }

// Resource is the resource id; 0 if the path has none.
func (p Path) Resource() uint16 { return p.ids[2] }

// ResourceInstance is the resource instance id; 0 if the path has none.
func (p Path) ResourceInstance() uint16 { return p.ids[3] }

// Child is the path one level deeper. A child of a resource instance is a
// mistake in the program and panics.
func (p Path) Child(id uint16) Path {
	p.ids[p.depth] = id
	p.depth++
	return p
}

// Prefix is the path cut to at most depth ids.
func (p Path) Prefix(depth int) Path {
	if depth >= p.Depth() {
		return p
	}
	var q Path
	copy(q.ids[:depth], p.ids[:depth])
	q.depth = uint8(depth)
	return q
}

// Contains tells whether other is p or lies under it.
func (p Path) Contains(other Path) bool { return other.Prefix(p.Depth()) == p }

// Overlaps tells whether one of the two contains the other.
func (p Path) Overlaps(other Path) bool { return p.Contains(other) || other.Contains(p) }

// Compare orders paths by their ids, a path before what lies under it.
func (p Path) Compare(other Path) int {
	a, b := p.ids[:p.depth], other.ids[:other.depth]
	return cmp.Or(slices.Compare(a, b), cmp.Compare(p.depth, other.depth))
}

// String is the form "/3303/0/5700"; "/" for the root.
func (p Path) String() string {
	if p.depth == 0 {
		return "/"
	}
	var b []byte
	for _, id := range p.ids[:p.depth] {
		b = append(b, '/')
		b = strconv.AppendUint(b, uint64(id), 10)
	}
	return string(b)
}

// MarshalText gives the String form, so that paths can be JSON and map keys in it.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the String form.
func (p *Path) UnmarshalText(text []byte) error {
	q, err := ParsePath(string(text))
	if err != nil {
		return err
	}
	*p = q
	return nil
}

// segments gives the ids as strings, as CoAP's Uri-Path carries them.
func (p Path) segments() []string {
	s := make([]string, p.depth)
	for i := range s {
		s[i] = strconv.FormatUint(uint64(p.ids[i]), 10)
	}
	return s
}
