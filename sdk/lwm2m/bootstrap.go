package lwm2m

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Where devices ask for accounts (OMA LwM2M 1.1 section 6.1.7; the pack is of 1.2).
const (
	bootstrapPath     = "bs"
	bootstrapPackPath = "bspack"
)

// bootstrapTimeout is how long a device waits for the next request of a bootstrap
// server: EXCHANGE_LIFETIME, the least that the specification allows.
const bootstrapTimeout = 247 * time.Second

// BootstrapConfig says who asks which bootstrap server.
type BootstrapConfig struct {
	// Endpoint is the device's unique name.
	Endpoint string
	// Server is the bootstrap server's address as the Transport resolves it.
	Server string
	// Known are the values of objects 0, 1 and 2 that the device has; the bootstrap
	// server may read 1 and 2, and changes all of them. The account of the
	// bootstrap server itself (/0/*/1 is true) cannot be deleted.
	Known []Record
	// Objects are further objects of the device that the bootstrap server may write.
	Objects []Object
	// Pack asks for everything in one answer (Bootstrap-Pack of LwM2M 1.2) instead
	// of waiting to be written to.
	Pack bool
	// Timeout bounds the time between two requests of the bootstrap server. Zero
	// means 247 s.
	Timeout time.Duration
}

// Bootstrap asks a bootstrap server for accounts (OMA LwM2M 1.1 section 6.1,
// client-initiated bootstrap) and gives the values of objects 0, 1 and 2 as they
// are when the server has finished: keep them, [ParseAccounts] reads them. Nothing
// is changed if there is an error. It serves t while it runs and does not close it.
func Bootstrap(ctx context.Context, t Transport, config BootstrapConfig) ([]Record, error) {
	records, err := bootstrap(ctx, t, config)
	if err != nil {
		return nil, fmt.Errorf("cannot bootstrap %q at %s: %w", config.Endpoint, config.Server, err)
	}
	return records, nil
}

func bootstrap(ctx context.Context, t Transport, config BootstrapConfig) ([]Record, error) {
	if config.Timeout == 0 {
		config.Timeout = bootstrapTimeout
	}
	b := &bootstrapping{
		config: config, values: newTree(config.Known), objects: map[uint16]Object{},
		model:  NewModel(SecurityDefinition, ServerDefinition, AccessControlDefinition),
		active: make(chan struct{}, 1), finished: make(chan struct{}),
	}
	for _, o := range config.Objects {
		d := o.Definition()
		b.objects[d.ID], b.model[d.ID] = o, d
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- t.Serve(ctx, b) }()
	err := b.run(ctx, t, served)
	stop()
	if e := <-served; err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	return b.values.under(Path{}), nil
}

// bootstrapping is one run of Bootstrap, and the Handler of its requests.
type bootstrapping struct {
	config   BootstrapConfig
	objects  map[uint16]Object
	model    Model
	active   chan struct{} // there was a request
	finished chan struct{}

	mu     sync.Mutex
	peer   string
	values tree
	done   bool
}

func (b *bootstrapping) run(ctx context.Context, t Transport, served chan error) error {
	peer, err := t.Resolve(ctx, b.config.Server)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.peer = peer
	b.mu.Unlock()
	if b.config.Pack {
		return b.fetchPack(ctx, t, peer)
	}
	answer, err := t.Exchange(ctx, peer, &Message{
		Code: Post, Path: []string{bootstrapPath},
		Query: []string{"ep=" + b.config.Endpoint, "pct=" + strconv.Itoa(int(FormatSenMLCBOR))},
	})
	if err == nil && !answer.Code.Success() {
		err = &Error{Code: answer.Code, Reason: brief(string(answer.Payload))}
	}
	for err == nil {
		timer := time.NewTimer(b.config.Timeout)
		select {
		case <-b.finished:
			timer.Stop()
			return nil
		case <-b.active:
		case <-timer.C:
			err = ErrTimeout
		case e := <-served:
			served <- e
			err = errors.Join(e, ctx.Err())
		}
		timer.Stop()
	}
	return err
}

func (b *bootstrapping) fetchPack(ctx context.Context, t Transport, peer string) error {
	answer, err := t.Exchange(ctx, peer, &Message{
		Code: Get, Path: []string{bootstrapPackPath}, Query: []string{"ep=" + b.config.Endpoint}, Accept: new(FormatSenMLCBOR),
	})
	switch {
	case err != nil:
		return err
	case !answer.Code.Success():
		return &Error{Code: answer.Code, Reason: brief(string(answer.Payload))}
	case answer.Format == nil:
		return errors.New("the pack has no content format")
	}
	records, err := Decode(*answer.Format, Path{}, answer.Payload, b.model)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
	for part := range parts(slices.SortedFunc(slices.Values(records), func(a, b Record) int { return a.Path.Compare(b.Path) })) {
		if err := b.put(ctx, part[0].Path.Prefix(DepthInstance), part); err != nil {
			return err
		}
	}
	return b.check()
}

// ServeNotification implements [Handler].
func (b *bootstrapping) ServeNotification(_ string, _ *Message, done func(Reception)) { done(Refused) }

// ServeRequest implements [Handler].
func (b *bootstrapping) ServeRequest(ctx context.Context, peer string, m *Message) *Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer != peer || b.done {
		return &Message{Code: CodeUnauthorized}
	}
	signal(b.active)
	answer, err := b.answer(ctx, m)
	if err != nil {
		return errorMessage(err)
	}
	return answer
}

func (b *bootstrapping) answer(ctx context.Context, m *Message) (*Message, error) {
	if m.Code == Post && slices.Equal(m.Path, []string{bootstrapPath}) {
		return b.finish()
	}
	p, err := pathFromSegments(m.Path)
	if err != nil {
		return nil, Errorf(CodeNotFound, "no such path")
	}
	switch {
	case m.Code == Get && m.Accept != nil && *m.Accept == FormatLink:
		return b.discover(p)
	case m.Code == Get:
		return b.read(p, m)
	case m.Code == Put:
		return b.write(ctx, p, m)
	case m.Code == Delete:
		return b.delete(ctx, p)
	}
	return nil, Errorf(CodeMethodNotAllowed, "this is no operation of a bootstrap server")
}

// finish ends the bootstrap if what was written fits together.
func (b *bootstrapping) finish() (*Message, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	b.done = true
	close(b.finished)
	return &Message{Code: CodeChanged}, nil
}

func (b *bootstrapping) check() error {
	accounts, err := ParseAccounts(b.values.under(Path{}))
	if err == nil && !slices.ContainsFunc(accounts, func(a Account) bool { return !a.Bootstrap }) {
		err = errors.New("there is no account of a management server")
	}
	if err != nil {
		return Errorf(CodeNotAcceptable, "%v", err)
	}
	return nil
}

// own tells whether the values of p are kept here, not in an Object.
func own(p Path) bool { return p.Depth() > DepthRoot && p.Object() <= AccessControlDefinition.ID }

func (b *bootstrapping) write(ctx context.Context, p Path, m *Message) (*Message, error) {
	f := FormatTLV
	if m.Format != nil {
		f = *m.Format
	}
	if _, ok := b.model[p.Object()]; p.Depth() < DepthObject || !ok {
		return nil, Errorf(CodeNotFound, "%v: no such object", p)
	}
	records, err := Decode(f, p, m.Payload, b.model)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(records, func(a, b Record) int { return a.Path.Compare(b.Path) })
	for part := range parts(records) {
		at := p
		if p.Depth() < DepthInstance {
			at = part[0].Path.Prefix(DepthInstance)
		}
		if err := b.put(ctx, at, part); err != nil {
			return nil, err
		}
	}
	return &Message{Code: CodeChanged}, nil
}

// put replaces what is at p.
func (b *bootstrapping) put(ctx context.Context, p Path, records []Record) error {
	if own(p) {
		b.values.remove(p)
		b.values.put(records)
		return nil
	}
	object, ok := b.objects[p.Object()]
	if !ok {
		return Errorf(CodeNotFound, "%v: no such object", p)
	}
	if slices.Contains(object.Instances(), p.Instance()) {
		return object.Write(ctx, p, Replace, records)
	}
	manager, ok := object.(InstanceManager)
	if !ok {
		return Errorf(CodeNotFound, "%v: no such instance", p)
	}
	return manager.Create(ctx, p.Instance(), records)
}

func (b *bootstrapping) delete(ctx context.Context, p Path) (*Message, error) {
	if p.Depth() > DepthInstance {
		return nil, Errorf(CodeMethodNotAllowed, "only objects and instances can be deleted")
	}
	kept := tree{}
	for _, q := range b.values.instances(SecurityDefinition.ID) {
		if b.values[q.Child(1)].Value.Bool() {
			kept.put(b.values.under(q))
		}
	}
	b.values.remove(p)
	maps.Copy(b.values, kept)
	for _, id := range slices.Sorted(maps.Keys(b.objects)) {
		manager, ok := b.objects[id].(InstanceManager)
		if !ok {
			continue
		}
		for _, instance := range manager.Instances() {
			if !p.Contains(NewPath(id, instance)) {
				continue
			}
			if err := manager.Delete(ctx, instance); err != nil {
				return nil, err
			}
		}
	}
	return &Message{Code: CodeDeleted}, nil
}

// read gives objects 1 and 2 and, of them, everything (OMA LwM2M 1.1 section
// 6.1.7.4).
func (b *bootstrapping) read(p Path, m *Message) (*Message, error) {
	if !own(p) || p.Object() == SecurityDefinition.ID || p.Depth() > DepthInstance {
		return nil, Errorf(CodeMethodNotAllowed, "a bootstrap server may read objects 1 and 2")
	}
	f := FormatTLV
	if m.Accept != nil {
		f = *m.Accept
	}
	payload, err := Encode(f, p, b.values.under(p))
	return &Message{Code: CodeContent, Format: &f, Payload: payload}, err
}

// discover lists instances, with short server ids and addresses (OMA LwM2M 1.1
// section 6.1.7.3).
func (b *bootstrapping) discover(p Path) (*Message, error) {
	if p.Depth() > DepthObject {
		return nil, Errorf(CodeMethodNotAllowed, "only the root and objects can be discovered")
	}
	links := []Link{{Target: "/", Attributes: map[string]string{"lwm2m": "1.1"}}}
	for _, id := range slices.Sorted(maps.Keys(b.model)) {
		if !p.Contains(NewPath(id)) {
			continue
		}
		instances := b.values.instances(id)
		if object, ok := b.objects[id]; ok {
			for _, instance := range object.Instances() {
				instances = append(instances, NewPath(id, instance))
			}
		}
		if len(instances) == 0 {
			links = append(links, Link{Target: NewPath(id).String()})
		}
		for _, q := range instances {
			links = append(links, b.instanceLink(q))
		}
	}
	return &Message{Code: CodeContent, Format: new(FormatLink), Payload: EncodeLinks(links)}, nil
}

func (b *bootstrapping) instanceLink(p Path) Link {
	l := Link{Target: p.String(), Attributes: map[string]string{}}
	switch p.Object() {
	case SecurityDefinition.ID:
		l.Attributes["uri"] = b.values[p.Child(0)].Value.Text()
		if !b.values[p.Child(1)].Value.Bool() {
			l.Attributes["ssid"] = b.values[p.Child(10)].Value.String()
		}
	case ServerDefinition.ID:
		l.Attributes["ssid"] = b.values[p.Child(0)].Value.String()
	}
	return l
}
