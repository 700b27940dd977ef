package lwm2m

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Rights are what a server may do with an object instance (OMA LwM2M 1.1 section
// 8.1, the values of object 2's ACL).
type Rights uint16

// The rights. CanCreate is one on an object, the others are on instances.
const (
	CanRead Rights = 1 << iota // read, observe, write attributes
	CanWrite
	CanExecute
	CanDelete
	CanCreate
	allRights Rights = 1<<iota - 1
)

// accessNobody is the owner that no server is (MAX_ID).
const accessNobody = 65535

// AccessDefinition is object 2, Access Control, version 1.0.
var AccessDefinition = Definition{
	ID: 2, Name: "LwM2M Access Control", Multiple: true,
	Resources: []Resource{
		{ID: 0, Name: "Object ID", Operations: R, Kind: KindInteger, Mandatory: true},
		{ID: 1, Name: "Object Instance ID", Operations: R, Kind: KindInteger, Mandatory: true},
		{ID: 2, Name: "ACL", Operations: RW, Kind: KindInteger, Multiple: true},
		{ID: 3, Name: "Access Control Owner", Operations: RW, Kind: KindInteger, Mandatory: true},
	},
}

// AccessControl lets a device have several servers: it is object 2, and decides which
// server may do what. Each server has a [Client] of its own, with its own Transport
// and ShortID; they share the objects, through [AccessControl.For].
//
// What is not allowed is refused with 4.01. An instance that [AccessControl.Control]
// has not named is nobody's. Servers may change the rights of what they own; who
// wants to keep that over a restart keeps what Read gives.
type AccessControl struct {
	// OnChange is called, if not nil, after a server has changed something under p:
	// tell the other Clients by [Client.Changed]. Set it before a Client runs.
	OnChange func(p Path)

	mu       sync.Mutex
	controls map[uint16]*control // by instance of object 2
}

type control struct {
	target Path // an instance, or an object: the right to create
	owner  uint16
	acl    map[uint16]Rights // by server, 0 for all that are not named
}

// Control says who may do what with p, an instance, or an object: whether instances
// may be created. The owner may do everything, unless acl names it; 0 in acl stands
// for servers that it does not name.
func (a *AccessControl) Control(p Path, owner uint16, acl map[uint16]Rights) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(p)
	if a.controls == nil {
		a.controls = map[uint16]*control{}
	}
	id := uint16(0)
	for a.controls[id] != nil {
		id++
	}
	a.controls[id] = &control{p, owner, maps.Clone(acl)}
}

// forget removes what is known of p. The caller holds the lock.
func (a *AccessControl) forget(p Path) {
	maps.DeleteFunc(a.controls, func(_ uint16, c *control) bool { return c.target == p })
}

// rights are those of a server on an instance, or on an object.
func (a *AccessControl) rights(server uint16, p Path) Rights {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.Object() == AccessDefinition.ID {
		if c := a.controls[p.Instance()]; p.Depth() > DepthObject && c != nil && c.owner == server {
			return CanRead | CanWrite
		}
		return CanRead
	}
	for _, c := range a.controls {
		if c.target == p {
			return c.rights(server)
		}
	}
	return 0
}

func (c *control) rights(server uint16) Rights {
	if r, named := c.acl[server]; named {
		return r
	}
	if c.owner == server {
		return allRights
	}
	return c.acl[0]
}

// For gives these objects, and object 2, as a server may use them: they are for the
// [ClientConfig] of its Client.
func (a *AccessControl) For(server uint16, objects ...Object) []Object {
	guarded := make([]Object, 0, len(objects)+1)
	for _, o := range append(slices.Clone(objects), Object(accessObject{a})) {
		g := guard{o, a, server}
		if m, ok := o.(InstanceManager); ok {
			guarded = append(guarded, guardedManager{g, m})
		} else {
			guarded = append(guarded, g)
		}
	}
	return guarded
}

// guard is an object as one server may use it.
type guard struct {
	Object
	access *AccessControl
	server uint16
}

func (g guard) require(r Rights, p Path) error {
	if g.access.rights(g.server, p)&r == 0 {
		return Errorf(CodeUnauthorized, "server %d may not do this with %v", g.server, p)
	}
	return nil
}

// Read implements [Object].
func (g guard) Read(ctx context.Context, p Path) ([]Record, error) {
	if err := g.require(CanRead, p.Prefix(DepthInstance)); err != nil {
		return nil, err
	}
	return g.Object.Read(ctx, p)
}

// Write implements [Object].
func (g guard) Write(ctx context.Context, p Path, mode WriteMode, records []Record) error {
	if err := g.require(CanWrite, p.Prefix(DepthInstance)); err != nil {
		return err
	}
	return g.done(p, g.Object.Write(ctx, p, mode, records))
}

// Stream implements [Streamer], for objects that are.
func (g guard) Stream(ctx context.Context, p Path, size int64) (Stream, error) {
	s, ok := g.Object.(Streamer)
	if !ok {
		return nil, nil
	}
	if err := g.require(CanWrite, p.Prefix(DepthInstance)); err != nil {
		return nil, err
	}
	return s.Stream(ctx, p, size)
}

// Execute implements [Object].
func (g guard) Execute(ctx context.Context, p Path, arguments string) error {
	if err := g.require(CanExecute, p.Prefix(DepthInstance)); err != nil {
		return err
	}
	return g.Object.Execute(ctx, p, arguments)
}

// done passes on err, or else tells of a change.
func (g guard) done(p Path, err error) error {
	if err == nil && g.access.OnChange != nil {
		g.access.OnChange(p)
	}
	return err
}

// guardedManager is an [InstanceManager] as one server may use it.
type guardedManager struct {
	guard
	manager InstanceManager
}

// Create implements [InstanceManager]; the creator owns the instance.
func (g guardedManager) Create(ctx context.Context, instance uint16, records []Record) error {
	object := NewPath(g.Definition().ID)
	if err := g.require(CanCreate, object); err != nil {
		return err
	}
	if err := g.manager.Create(ctx, instance, records); err != nil {
		return err
	}
	g.access.Control(object.Child(instance), g.server, nil)
	return g.done(object.Child(instance), nil)
}

// Delete implements [InstanceManager].
func (g guardedManager) Delete(ctx context.Context, instance uint16) error {
	p := NewPath(g.Definition().ID, instance)
	if err := g.require(CanDelete, p); err != nil {
		return err
	}
	if err := g.manager.Delete(ctx, instance); err != nil {
		return err
	}
	g.access.mu.Lock()
	g.access.forget(p)
	g.access.mu.Unlock()
	return g.done(p, nil)
}

// accessObject is object 2.
type accessObject struct{ *AccessControl }

// Definition implements [Object].
func (accessObject) Definition() Definition { return AccessDefinition }

// Instances implements [Object].
func (a accessObject) Instances() []uint16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.controls))
}

// Read implements [Object].
func (a accessObject) Read(_ context.Context, p Path) ([]Record, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.controls[p.Instance()]
	if c == nil {
		return nil, Errorf(CodeNotFound, "%v: no such instance", p)
	}
	base, instance := p.Prefix(DepthInstance), int64(accessNobody)
	if c.target.Depth() > DepthObject {
		instance = int64(c.target.Instance())
	}
	records := []Record{
		{Path: base.Child(0), Value: Int(int64(c.target.Object()))},
		{Path: base.Child(1), Value: Int(instance)},
	}
	for _, server := range slices.Sorted(maps.Keys(c.acl)) {
		records = append(records, Record{Path: base.Child(2).Child(server), Value: Int(int64(c.acl[server]))})
	}
	return append(records, Record{Path: base.Child(3), Value: Int(int64(c.owner))}), nil
}

// Write implements [Object]: the owner changes the ACL, or who owns it.
func (a accessObject) Write(_ context.Context, p Path, mode WriteMode, records []Record) error {
	acl, owner := map[uint16]Rights{}, int64(-1)
	for _, r := range records {
		switch v := r.Value.Int(); {
		case r.Path.Resource() == 3 && v >= 0 && v <= accessNobody:
			owner = v
		case r.Path.Resource() == 2 && v >= 0 && v <= int64(allRights):
			acl[r.Path.ResourceInstance()] = Rights(v)
		default:
			return Errorf(CodeBadRequest, "%v: %d is no right and no server", r.Path, v)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.controls[p.Instance()]
	if c == nil {
		return Errorf(CodeNotFound, "%v: no such instance", p)
	}
	wholeACL := mode == Replace && (p.Depth() == DepthInstance || p.Depth() == DepthResource && p.Resource() == 2)
	if !wholeACL {
		kept := maps.Clone(c.acl)
		if kept == nil {
			kept = map[uint16]Rights{}
		}
		maps.Copy(kept, acl)
		acl = kept
	}
	c.acl = acl
	if owner >= 0 {
		c.owner = uint16(owner)
	}
	return nil
}

// Execute implements [Object]; there is nothing to execute.
func (accessObject) Execute(context.Context, Path, string) error {
	return Errorf(CodeMethodNotAllowed, "nothing to execute")
}
