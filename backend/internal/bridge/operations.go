package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// What methods do with a device. What they read is shown in the twin only if it is
// there anyway; what they observe is, until another one cancels that.

func (s *session) readNow(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	records, err := d.Read(ctx, o.Path)
	if err != nil {
		return nil, err
	}
	s.learn(d, records)
	return shown(o.Path, records), nil
}

// learn keeps values that have others in the twin.
func (s *session) learn(d *lwm2m.Device, records []lwm2m.Record) {
	s.mu.Lock()
	known := slices.DeleteFunc(slices.Clone(records), func(r lwm2m.Record) bool { _, is := s.values[r.Path]; return !is })
	s.mu.Unlock()
	if len(known) > 0 {
		s.take(d, known)
	}
}

// writeNow writes a resource, or some of an instance.
func (s *session) writeNow(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	mode := lwm2m.Replace
	switch {
	case o.Mode == "update" || o.Mode == "" && o.Path.Depth() == lwm2m.DepthInstance:
		mode = lwm2m.Update
	case o.Mode != "" && o.Mode != "replace":
		return nil, badMethod(`mode %.20q is neither "replace" nor "update"`, o.Mode)
	}
	records, err := s.recordsOf(d.Registration().Typed(), o.Path, o.Value, o.Type)
	if err != nil {
		return nil, err
	}
	if err := d.Write(ctx, o.Path, mode, records); err != nil {
		return nil, err
	}
	s.learn(d, records)
	return nil, nil
}

func (s *session) executeNow(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	if _, err := lwm2m.ParseArguments(o.Arguments); err != nil {
		return nil, badMethod("%v", err)
	}
	err := d.Execute(ctx, o.Path, o.Arguments)
	if errors.Is(err, lwm2m.ErrUnreachable) || errors.Is(err, lwm2m.ErrGone) {
		err = methodError{statusOf(err), "the device did not answer, and may have done it"}
	}
	return nil, err
}

// maxViews bounds what methods observe of one device.
const maxViews = 64

// observeNow has the twin show the changes of something. If it does already, the
// present value is read.
func (s *session) observeNow(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	s.mu.Lock()
	shows, many := s.follows(o.Path), len(s.viewed) >= maxViews
	s.mu.Unlock()
	switch {
	case shows:
		return s.readNow(ctx, d, o)
	case many:
		return nil, methodError{http.StatusTooManyRequests, "too much of this device is observed already"}
	}
	records, err := d.Observe(ctx, o.Path, s.viewer(d, o.Path))
	if err != nil {
		return nil, err
	}
	s.viewing(d, o.Path)
	return shown(o.Path, records), nil
}

func (s *session) viewing(d *lwm2m.Device, p lwm2m.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.device == d {
		s.viewed[p] = true
	}
}

// viewer takes what is notified of a path. It may have taken the place of the session's
// own observation of an object that it looks at.
func (s *session) viewer(d *lwm2m.Device, p lwm2m.Path) func([]lwm2m.Record) {
	return func(records []lwm2m.Record) {
		s.notified(d, p, records)
		s.altered([]lwm2m.Path{p})
	}
}

// dropEarlier ends what was observed before the bridge was restarted and nobody has
// observed again by now: the twin does not want it any more.
func (s *session) dropEarlier(ctx context.Context) error {
	s.mu.Lock()
	d, ready := s.device, s.observed()
	s.mu.Unlock()
	if !ready || !listens(d) {
		return nil
	}
	for _, paths := range d.Earlier() {
		if err := d.CancelObserve(ctx, paths[0]); unreachable(err) {
			return err
		}
	}
	return nil
}

// views are what methods have asked to observe, by path. The twin remembers them, over
// restarts of the device and of the bridge.
func (s *session) views() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]any{}
	for p := range s.viewed {
		all[p.String()] = true
	}
	return all
}

// recallViews takes from the twin what was observed in earlier sessions.
func (s *session) recallViews(reported map[string]any) {
	if s.recalled {
		return
	}
	s.recalled = true
	views, _ := reported["observed"].(map[string]any)
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range views {
		if p, err := lwm2m.ParsePath(text); err == nil && len(s.viewed) < maxViews {
			s.viewed[p], s.lapsed[p] = true, true
		}
	}
}

// follows tells whether something is observed, by itself or with what it is in. The
// caller holds s.mu.
func (s *session) follows(p lwm2m.Path) bool {
	return s.followed[p] || s.viewed[p] || p.Depth() >= lwm2m.DepthInstance && s.watching[p.Prefix(lwm2m.DepthInstance)]
}

func (s *session) cancelObserve(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	s.mu.Lock()
	viewed, shows := s.viewed[o.Path], s.follows(o.Path)
	s.mu.Unlock()
	switch {
	case !viewed && shows:
		return nil, methodError{http.StatusConflict, `the twin is to show this: take "observed" out of the desired properties`}
	case !viewed:
		return nil, methodError{http.StatusNotFound, o.Path.String() + " is not observed"}
	}
	err := d.CancelObserve(ctx, o.Path)
	s.mu.Lock()
	if s.lapsed[o.Path] {
		err = nil
	}
	delete(s.viewed, o.Path)
	delete(s.lapsed, o.Path)
	s.left = append(s.left, o.Path)
	s.mu.Unlock()
	s.poke()
	return nil, err
}

// forget takes out of the twin what nobody asks for any more.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := func(p lwm2m.Path) bool {
		_, asked := s.resources[p.Prefix(lwm2m.DepthResource)]
		return asked || s.watching[p.Prefix(lwm2m.DepthInstance)] || s.viewed[p.Prefix(lwm2m.DepthResource)] ||
			s.viewed[p.Prefix(lwm2m.DepthInstance)] || s.viewed[p.Prefix(lwm2m.DepthObject)]
	}
	for _, left := range s.left {
		maps.DeleteFunc(s.values, func(p lwm2m.Path, _ lwm2m.Record) bool { return left.Contains(p) && !wanted(p) })
	}
	s.left = nil
}

// discover lists what there is, with its attributes.
func (s *session) discover(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	links, err := d.Discover(ctx, o.Path)
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]string{}
	root := d.Registration().Root
	for _, l := range links {
		p, err := l.Path(root)
		if err != nil {
			continue // what is not LwM2M's
		}
		all[p.String()] = l.Attributes
		if l.Attributes == nil {
			all[p.String()] = map[string]string{}
		}
	}
	return all, nil
}

// writeAttributes sets when the device notifies of changes.
func (s *session) writeAttributes(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	seconds := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
	kinds := map[string]func(float64) lwm2m.Attribute{
		"pmin": func(x float64) lwm2m.Attribute { return lwm2m.MinPeriod(seconds(x)) },
		"pmax": func(x float64) lwm2m.Attribute { return lwm2m.MaxPeriod(seconds(x)) },
		"gt":   lwm2m.GreaterThan, "lt": lwm2m.LessThan, "st": lwm2m.Step,
	}
	var attributes []lwm2m.Attribute
	for _, name := range slices.Sorted(maps.Keys(o.Attributes)) {
		kind, known := kinds[name]
		if !known {
			return nil, badMethod("attribute %.20q is none of pmin, pmax, gt, lt and st", name)
		}
		if o.Attributes[name] == nil {
			attributes = append(attributes, lwm2m.Unset(name))
			continue
		}
		x, err := o.Attributes[name].Float64()
		if err != nil || name[0] == 'p' && (x < 0 || x > math.MaxInt32) {
			return nil, badMethod("attribute %s: %s cannot be meant", name, *o.Attributes[name])
		}
		attributes = append(attributes, kind(x))
	}
	if len(attributes) == 0 {
		return nil, badMethod(`"attributes" are missing, as in {"pmin": 5, "pmax": 60}`)
	}
	return nil, d.WriteAttributes(ctx, o.Path, attributes...)
}

// create makes an instance, and says which.
func (s *session) create(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	at := o.Path
	if at.Depth() == lwm2m.DepthObject {
		at = at.Child(0) // the device chooses another
	}
	var records []lwm2m.Record
	if o.Value != nil {
		var err error
		if records, err = s.recordsOf(d.Registration().Typed(), at, o.Value, o.Type); err != nil {
			return nil, err
		}
	}
	made, err := d.Create(ctx, o.Path, records)
	if err != nil {
		return nil, err
	}
	return made.String(), nil
}

func (s *session) deleteInstance(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	return nil, d.Delete(ctx, o.Path)
}

func (s *session) readComposite(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	if len(o.Paths) == 0 || len(o.Values) > 0 {
		return nil, badMethod(`"paths" are missing, as in ["/3/0/9", "/3303"]`)
	}
	records, err := d.ReadComposite(ctx, o.Paths...)
	if err != nil {
		return nil, err
	}
	s.learn(d, records)
	return shown(lwm2m.Path{}, records), nil
}

func (s *session) writeComposite(ctx context.Context, d *lwm2m.Device, o operation) (any, error) {
	if len(o.Values) == 0 {
		return nil, badMethod(`"values" are missing, as in {"/3/0/14": "+01:00", "/3/0/15": "Europe/Zurich"}`)
	}
	var records []lwm2m.Record
	for text, value := range o.Values {
		p, err := parseDotted(text)
		if err != nil {
			return nil, err
		}
		some, err := s.recordsOf(d.Registration().Typed(), p, value, "")
		if err != nil {
			return nil, err
		}
		records = append(records, some...)
	}
	slices.SortFunc(records, func(a, b lwm2m.Record) int { return a.Path.Compare(b.Path) })
	if err := d.WriteComposite(ctx, records); err != nil {
		return nil, err
	}
	s.learn(d, records)
	return nil, nil
}

// recordsOf makes records of what was given for a path: a value, or an object of
// what is under it, by id.
func (s *session) recordsOf(typed bool, p lwm2m.Path, value any, kind string) (records []lwm2m.Record, err error) {
	members, several := value.(map[string]any)
	if !several {
		v, err := s.valueFor(typed, p, value, kind)
		return []lwm2m.Record{{Path: p, Value: v}}, err
	}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		inner, err := lwm2m.ParsePath(strings.TrimSuffix(p.String(), "/") + "/" + id)
		if err != nil || inner.Depth() != p.Depth()+1 {
			return nil, badMethod("%q is no id of what is under %v", id, p)
		}
		some, err := s.recordsOf(typed, inner, members[id], kind)
		if err != nil {
			return nil, err
		}
		records = append(records, some...)
	}
	return records, nil
}

// valueFor gives a value the kind that is named, that the resource is known to have
// on the device, or by its definition.
func (s *session) valueFor(typed bool, p lwm2m.Path, value any, name string) (lwm2m.Value, error) {
	if p.Depth() < lwm2m.DepthResource {
		return lwm2m.Value{}, badMethod(`%v has no value of its own: "value" must be an object such as {"14": "+01:00"}`, p)
	}
	kind, err := s.kindOf(typed, p, name)
	if err != nil {
		return lwm2m.Value{}, badMethod("%v", err)
	}
	v, err := valueOf(value, kind)
	if err != nil {
		return v, badMethod("%v: %v", p, err)
	}
	return v, nil
}

// kindOf is the kind that is named, that the resource has on the device, or that it is
// defined to have. In TLV bytes have no type: there somebody must know it, lest an
// integer gets the letters of a text.
func (s *session) kindOf(typed bool, p lwm2m.Path, name string) (lwm2m.Kind, error) {
	if name != "" {
		kind, known := kinds[strings.ToLower(name)]
		if !known {
			return kind, fmt.Errorf("type %.20q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
		}
		return kind, nil
	}
	definition, defined := s.model.Resource(p)
	if !defined && !typed {
		return definition.Kind, fmt.Errorf(`nobody knows the type of %v, and this device does not say it: add "type", as in "type": "integer", or give the bridge the definition of the object (bridge.objects)`, p)
	}
	if kind := s.valueAt(p).Kind(); kind != lwm2m.KindNone {
		return kind, nil
	}
	return definition.Kind, nil
}

// kinds of values by name.
var kinds = map[string]lwm2m.Kind{
	"string": lwm2m.KindString, "integer": lwm2m.KindInteger, "unsigned": lwm2m.KindUnsigned, "float": lwm2m.KindFloat,
	"boolean": lwm2m.KindBoolean, "opaque": lwm2m.KindOpaque, "time": lwm2m.KindTime, "objlnk": lwm2m.KindLink,
}

// shown is what was read: the value of a single resource, of all else the values by
// path.
func shown(p lwm2m.Path, records []lwm2m.Record) any {
	if len(records) == 1 && records[0].Path == p {
		return exact(records[0].Value)
	}
	all := map[string]any{}
	for _, r := range records {
		all[r.Path.String()] = exact(r.Value)
	}
	return all
}

// exact is a value in JSON, which a twin could not hold: numbers of 64 bits, and
// texts of any length. Opaque values are base64, times RFC 3339, object links
// "3:0".
func exact(v lwm2m.Value) any {
	switch f := v.Float(); {
	case v.Kind() == lwm2m.KindTime:
		return dated(v)
	case v.Kind() == lwm2m.KindFloat && (math.IsNaN(f) || math.IsInf(f, 0)):
		return v.String() // JSON has no such numbers
	}
	return v.Any()
}

// dated is a time as RFC 3339 has it, or seconds if that has no such year. 0 seconds is a
// time as well: that of a clock that was never set.
func dated(v lwm2m.Value) any {
	seconds, err := v.Convert(lwm2m.KindInteger)
	at := time.Unix(seconds.Int(), 0).UTC()
	if err != nil || at.Year() < 1 || at.Year() > 9999 {
		return seconds.Int()
	}
	return at.Format(time.RFC3339)
}

// numberOf makes a value of a number in JSON, exact over 64 bits.
func numberOf(n json.Number, kind lwm2m.Kind) (lwm2m.Value, error) {
	if kind == lwm2m.KindString {
		return lwm2m.String(n.String()), nil
	}
	if v, err := lwm2m.ParseValue(lwm2m.KindInteger, n.String()); err == nil {
		return v.Convert(kind)
	}
	if v, err := lwm2m.ParseValue(lwm2m.KindUnsigned, n.String()); err == nil {
		return v.Convert(kind)
	}
	v, err := lwm2m.ParseValue(lwm2m.KindFloat, n.String())
	if err != nil {
		return v, err
	}
	return v.Convert(kind)
}
