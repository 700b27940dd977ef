package lwm2m

import "slices"

// Operations is what a server may do with a resource.
type Operations uint8

// The operations; RW is R|W.
const (
	R  Operations = 1 << iota // read, observe
	W                         // write
	E                         // execute
	RW = R | W
)

// Resource defines one resource of an object.
type Resource struct {
	ID         uint16
	Name       string
	Operations Operations
	Kind       Kind
	Multiple   bool // has resource instances
	Mandatory  bool
	Units      string // as in the OMA registry, "" if none
	// Range is the RangeEnumeration of the registry, such as "0..255", and
	// Description its text; both are for people and may be "".
	Range, Description string
}

// Definition defines an object, as the OMA registry's XML does.
type Definition struct {
	ID        uint16
	Name      string
	Version   string // "" means "1.0"
	Multiple  bool   // may have more than one instance
	Mandatory bool   // every device must have it
	Resources []Resource
	// Description is for people and may be "".
	Description string
}

func (d Definition) version() string {
	if d.Version == "" {
		return "1.0"
	}
	return d.Version
}

// Resource finds a resource by id.
func (d Definition) Resource(id uint16) (Resource, bool) {
	i := slices.IndexFunc(d.Resources, func(r Resource) bool { return r.ID == id })
	if i < 0 {
		return Resource{}, false
	}
	return d.Resources[i], true
}

// Model is the set of objects that one side knows, by object id. Decoders take
// the kinds of values from it.
type Model map[uint16]Definition

// NewModel collects definitions; the last one wins if an id comes twice.
func NewModel(definitions ...Definition) Model {
	m := make(Model, len(definitions))
	for _, d := range definitions {
		m[d.ID] = d
	}
	return m
}

// Resource finds the definition of the resource that p names or lies under.
func (m Model) Resource(p Path) (Resource, bool) {
	if p.Depth() < DepthResource {
		return Resource{}, false
	}
	return m[p.Object()].Resource(p.Resource())
}

// kind is the kind of the resource at p, KindNone if it is unknown.
func (m Model) kind(p Path) Kind {
	r, _ := m.Resource(p)
	return r.Kind
}
