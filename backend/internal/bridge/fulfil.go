package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A reply is what came of what is asked of a resource.
type reply struct {
	to      resource
	from    *lwm2m.Device // the registration
	version int64         // of the desired properties that asked for it first
	err     string
}

// askForResources brings single resources to what is asked of them, each by
// itself, once for each registration: what the device refuses is its answer, and
// what it changes afterwards is not fought over.
func (s *session) askForResources(ctx context.Context, d *lwm2m.Device) error {
	defer s.forget()
	for path, was := range s.replies {
		if err := s.retract(ctx, d, path, was); err != nil {
			return err
		}
	}
	for _, path := range slices.SortedFunc(maps.Keys(s.resources), lwm2m.Path.Compare) {
		r := s.resources[path]
		was, answered := s.replies[path]
		if answered && (was.from == d || r.executesOnly()) {
			continue
		}
		err := s.fulfil(ctx, d, path, r)
		if err != errUnanswered && (unreachable(err) || errors.Is(err, errHub) || ctx.Err() != nil) {
			return err
		}
		now := reply{to: r, from: d, version: s.version}
		if answered {
			now.version = was.version
		}
		if err != nil {
			now.err = clip(err.Error())
		}
		s.replies[path] = now
	}
	return nil
}

// errUnanswered is an execute without an answer. It is not repeated: a device that
// restarts before it answers would do so for ever.
var errUnanswered = errors.New("the device did not answer, and may have done it: another number asks again")

// retract ends what nobody asks for any more.
func (s *session) retract(ctx context.Context, d *lwm2m.Device, path lwm2m.Path, was reply) error {
	r, asked := s.resources[path]
	if asked && r == was.to {
		return nil
	}
	if was.to.observed && !r.observed && was.from == d {
		err := d.CancelObserve(ctx, path)
		if _, refused := errors.AsType[*lwm2m.Error](err); err != nil && !refused {
			return err
		}
	}
	delete(s.replies, path)
	if r.value == nil {
		delete(s.given, path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.followed, path)
	delete(s.lapsed, path)
	s.left = append(s.left, path)
	return nil
}

func (s *session) valueAt(path lwm2m.Path) lwm2m.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[path].Value
}

func (s *session) fulfil(ctx context.Context, d *lwm2m.Device, path lwm2m.Path, r resource) error {
	once := path.Object() == objects.FirmwareID && path.Resource() == objects.FirmwarePackageURI // the device forgets it when it has done what it is for
	if !r.executesOnly() {
		err := s.look(ctx, d, path, r.observed)
		if errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeMethodNotAllowed}) && r.value != nil && !r.observed {
			once, err = true, nil // it can be written only
		}
		if err != nil {
			return err
		}
	}
	if r.value != nil {
		if err := s.put(ctx, d, path, r, once); err != nil {
			return err
		}
	}
	return s.execute(ctx, d, path, r)
}

// An execution of a resource, and how it ended.
type execution struct {
	number int64
	err    string // "" if the device has done it
}

// execute executes a resource, once for each number. The twin knows before the device
// does: a bridge that ends in between, or loses the device to another one, is not
// followed by one that does it again.
func (s *session) execute(ctx context.Context, d *lwm2m.Device, path lwm2m.Path, r resource) error {
	if r.execute == 0 {
		return nil
	}
	if last := s.executed[path]; r.execute == last.number {
		if last.err != "" {
			return errors.New(last.err)
		}
		return nil
	}
	if !d.Awake() {
		return lwm2m.ErrUnreachable
	}
	if err := s.executes(ctx, path, execution{r.execute, errUnanswered.Error()}); err != nil {
		return err
	}
	s.log.Info("resource is executed", "path", path.String(), "number", r.execute)
	err := d.Execute(ctx, path, r.arguments)
	if _, refused := errors.AsType[*lwm2m.Error](err); err != nil && !refused {
		err = errUnanswered
	}
	done := execution{number: r.execute}
	if err != nil {
		done.err = clip(err.Error())
	}
	s.executed[path] = done
	return err
}

// executes has the twin know of an execution that begins.
func (s *session) executes(ctx context.Context, path lwm2m.Path, begun execution) error {
	patch := map[string]any{"executed": map[string]any{path.String(): begun.shown()}}
	if err := s.link.report(ctx, patch); err != nil {
		s.unsure()
		return fmt.Errorf("%w: %w", errHub, err)
	}
	s.base = iothub.Merge(s.base, patch)
	s.executed[path] = begun
	return nil
}

func (e execution) shown() map[string]any {
	return withoutNils(map[string]any{"number": float64(e.number), "err": orNil(e.err)})
}

// look has the value of a resource known, and its changes if it is observed.
// Those of an instance that is observed are known already.
func (s *session) look(ctx context.Context, d *lwm2m.Device, path lwm2m.Path, observed bool) error {
	s.mu.Lock()
	covered := s.watching[path.Prefix(lwm2m.DepthInstance)]
	known := s.values.has(path)
	s.mu.Unlock()
	switch {
	case known && (covered || !observed):
		return nil
	case observed && !covered:
		_ = d.WriteAttributes(ctx, path, lwm2m.MinPeriod(readingsPeriod)) // it may not know attributes
		_, err := d.Observe(ctx, path, func(records []lwm2m.Record) { s.notified(d, path, records) })
		if err == nil {
			s.following(d, path)
		}
		return err
	}
	records, err := d.Read(ctx, path)
	if err == nil {
		s.take(d, records)
	}
	return err
}

// following notes that the twin has a resource observed.
func (s *session) following(d *lwm2m.Device, path lwm2m.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.device == d {
		s.followed[path] = true
		delete(s.viewed, path)
	}
}

// put writes a resource that has another value; or once for each value, if what it
// has cannot be told.
func (s *session) put(ctx context.Context, d *lwm2m.Device, path lwm2m.Path, r resource, once bool) error {
	have := s.valueAt(path)
	kind, err := s.kindOf(d.Registration().Typed(), path, r.kind)
	if err != nil {
		return err
	}
	want, err := valueOf(r.value, kind)
	if err != nil || want == have || once && s.given[path] == markOf(want) {
		return err
	}
	records := []lwm2m.Record{{Path: path, Value: want}}
	if err := d.Write(ctx, path, lwm2m.Replace, records); err != nil {
		return err
	}
	if once {
		s.given[path] = markOf(want)
	}
	if have.Kind() != lwm2m.KindNone { // else it cannot be read, and nobody shows it
		s.take(d, records)
	}
	return nil
}

// answers adds to the tree of resources what came of what was asked.
func (s *session) answers(tree map[string]any) {
	for path, r := range s.replies {
		leaf := child(child(child(tree, path.Object()), path.Instance()), path.Resource())
		leaf["av"] = float64(r.version)
		if r.err != "" {
			leaf["err"] = r.err
		}
	}
}

// done is the last execution of each resource. The twin remembers it, as long as
// the resource is asked to be executed.
func (s *session) done() map[string]any {
	all := map[string]any{}
	for path, r := range s.resources {
		if last := s.executed[path]; r.execute != 0 && last.number != 0 {
			all[path.String()] = last.shown()
		}
	}
	return all
}

// markOf tells values apart without showing them: some are secret.
func markOf(value lwm2m.Value) string {
	sum := sha256.Sum256([]byte(value.String()))
	return hex.EncodeToString(sum[:8])
}

// markOfPush tells the pushes of the older form apart.
func markOfPush(update any) string {
	if update == nil {
		return ""
	}
	b, _ := json.Marshal(update) // it was JSON
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// marks are those of values that were written once, as long as they are desired.
func (s *session) marks() map[string]any {
	all := map[string]any{}
	for path, mark := range s.given {
		if s.resources[path].value != nil {
			all[path.String()] = mark
		}
	}
	return all
}

// recall takes from the twin what was executed and given in earlier sessions.
func (s *session) recall(reported map[string]any) {
	executed, _ := reported["executed"].(map[string]any)
	for text, v := range executed {
		var last execution
		switch v := v.(type) {
		case float64: // of an older bridge
			last.number = int64(v)
		case map[string]any:
			number, _ := v["number"].(float64)
			last = execution{int64(number), orEmpty(v["err"])}
		}
		if p, err := lwm2m.ParsePath(text); err == nil && s.executed[p].number == 0 {
			s.executed[p] = last
		}
	}
	given, _ := reported["given"].(map[string]any)
	for text, v := range given {
		if p, err := lwm2m.ParsePath(text); err == nil && s.given[p] == "" {
			s.given[p] = orEmpty(v)
		}
	}
}
