package bridge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A session joins one registered device with its twin. All that it does
// happens in one goroutine, which is woken when something has changed on
// either side; what others tell it they leave in the fields under mu.
type session struct {
	endpoint string
	link     *twinLink
	log      *slog.Logger
	wake     chan struct{}
	doze     *time.Timer     // wakes it when its device falls asleep
	life     context.Context // of the session

	mu        sync.Mutex
	device    *lwm2m.Device       // the present registration; nil when it is over
	watching  map[lwm2m.Path]bool // instances that are observed in this registration
	followed  map[lwm2m.Path]bool // and resources, since the twin asks for it
	viewed    map[lwm2m.Path]bool // and all else, since a method has asked for it; in any registration
	lapsed    map[lwm2m.Path]bool // what of all that is not observed now, since the hub took no values
	left      []lwm2m.Path        // what nobody asks for any more
	callers   callers
	fresh     bool   // the twin is as we know it
	values    values // what this registration has told
	interrupt func() // ends the step that is under way

	base    map[string]any // reported document as the hub has it
	wants   map[string]want
	pushed  string // mark of the last "update" of the desired properties, "" if there is none
	checked string // mark of the one for which the device has looked for packages
	refused map[string]any
	repair  int64 // number of the repair that is desired, 0 none

	model     lwm2m.Model
	version   int64     // of the desired properties
	resources resources // what they ask of single ones
	replies   map[lwm2m.Path]reply
	executed  map[lwm2m.Path]execution // the last one
	recalled  bool                     // viewed has what the twin knew
	given     map[lwm2m.Path]string    // mark of the value that was written last, of those that are written once

	ownership
	upkeep
}

// An upkeep is what a session has for a device without an agent, whose components
// it updates itself.
type upkeep struct {
	packages  Packages
	addresses []string // of the file server, as devices reach it
	pace      pace
	begun     func() error // hears that a job begins, before the device does
	idle      func()       // hears that it is over
	resumed   bool         // the session goes on with the job of an earlier one, if there is one still

	looked  *lwm2m.Device // the registration whose targets are known
	targets []*target
	changed map[lwm2m.Path]bool // targets that have said so; under mu
	job     *job                // the update in progress
	busy    atomic.Bool         // there is one
	push    *push
	pushes  sync.WaitGroup
	alarm   *time.Timer // wakes it
}

// How the session paces itself.
const (
	operationTimeout = 30 * time.Second
	retryPause       = 2 * time.Second
	readingsPeriod   = time.Second // shortest time between two notifications of a sensor
)

func newSession(hub iothub.ConnectionString, security *tls.Config, endpoint string, model lwm2m.Model, refused func(), log *slog.Logger) *session {
	s := &session{
		endpoint: endpoint, log: log, wake: make(chan struct{}, 1), values: values{},
		model: model, replies: map[lwm2m.Path]reply{}, executed: map[lwm2m.Path]execution{}, given: map[lwm2m.Path]string{},
		viewed: map[lwm2m.Path]bool{}, lapsed: map[lwm2m.Path]bool{},
		upkeep: upkeep{pace: standardPace, changed: map[lwm2m.Path]bool{}, begun: func() error { return nil }, idle: func() {}},
	}
	s.alarm = time.AfterFunc(time.Hour, s.poke)
	s.interrupt = func() {}
	s.doze = time.AfterFunc(time.Hour, s.poke)
	s.link = dial(hub, security, endpoint, callbacks{up: s.stale, lost: s.rest, refused: refused, desired: s.stale, method: s.invoked}, log)
	return s
}

// stale says that the twin may have changed.
func (s *session) stale() {
	s.mu.Lock()
	s.fresh = false
	s.mu.Unlock()
	s.poke()
}

// unsure has the twin read before anything more is told: a report without an
// answer may have arrived.
func (s *session) unsure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh = false
}

// attach gives the session a registration of its device, or nil at the end of one. A
// fresh one has just been made, any other was there before the bridge was restarted.
// Observations end with their registration, and nobody waits for answers to what was
// asked in it.
func (s *session) attach(d *lwm2m.Device, fresh bool) {
	s.mu.Lock()
	s.interrupt()
	s.device, s.watching, s.followed, s.lapsed = d, map[lwm2m.Path]bool{}, map[lwm2m.Path]bool{}, maps.Clone(s.viewed)
	if d != nil {
		s.claims = fresh
		s.values, s.fresh = values{}, false // what waited in the twin is written, not what was wanted before
	}
	s.mu.Unlock()
	s.poke()
}

// gone reports whether the device has no registration now, and nothing is under
// way for it.
func (s *session) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.device == nil && !s.busy.Load()
}

// observed reports whether all that the device offers is observed. The caller
// holds s.mu.
func (s *session) observed() bool {
	return s.device != nil && !slices.ContainsFunc(watched(s.device), func(p lwm2m.Path) bool { return !s.watching[p] })
}

func (s *session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends.
func (s *session) run(ctx context.Context) {
	s.life = ctx
	defer s.endMethods()
	defer s.link.close()
	defer s.pushes.Wait()
	defer s.alarm.Stop()
	defer s.doze.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-retry.C:
		}
		s.offerMethods()
		if err := s.interruptible(ctx); err != nil {
			if errors.Is(err, errCeded) && s.cede() {
				return
			}
			if !errors.Is(err, errDown) {
				s.log.Warn("device and twin are not in step, trying again", "error", err)
			}
			retry.Reset(retryPause)
		}
	}
}

// offerMethods has the hub let methods through while the device can be asked.
func (s *session) offerMethods() {
	s.mu.Lock()
	d := s.device
	s.mu.Unlock()
	yes := listens(d)
	s.link.offer(yes)
	if yes && d.Registration().QueueMode {
		s.doze.Reset(time.Until(d.AwakeUntil()))
	}
}

// interruptible is step; whoever interrupts it wakes the session again.
func (s *session) interruptible(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.interrupt = cancel
	s.mu.Unlock()
	if err := s.step(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// step brings both sides up to date with each other. Either is told something only by
// one who knows what the twin has, and has the connection to it.
func (s *session) step(ctx context.Context) error {
	watched := s.watch(ctx)
	if heard := cmp.Or(s.hear(ctx), s.connected()); heard != nil {
		return errors.Join(watched, heard)
	}
	looked := s.lookAt(ctx)
	asked := cmp.Or(s.observeAgain(ctx), s.ask(ctx))
	if looked != nil {
		return errors.Join(watched, looked, asked)
	}
	return errors.Join(watched, cmp.Or(asked, s.dropEarlier(ctx)), cmp.Or(s.collect(ctx), s.drive(ctx), s.tell(ctx)))
}

// listens tells whether a device is here and can be asked now. What is asked of
// one that sleeps waits in the twin: when it is heard of, the session is woken.
func listens(d *lwm2m.Device) bool { return d != nil && d.Awake() }

// watched lists the instances of a device that a session observes.
func watched(d *lwm2m.Device) (paths []lwm2m.Path) {
	for _, p := range d.Registration().Objects {
		if p.Depth() == 2 && (isSensor(p) || p.Object() == objects.ComponentUpdateID) {
			paths = append(paths, p)
		}
	}
	return paths
}

// isSensor tells IPSO's sensors, whose readings the twin shows unasked.
func isSensor(p lwm2m.Path) bool { return p.Object() >= 3300 && p.Object() <= 3350 }

// watch observes what the registration offers and is not observed yet: a
// device may add objects to its registration.
func (s *session) watch(ctx context.Context) error {
	s.mu.Lock()
	d, watching := s.device, maps.Clone(s.watching)
	s.mu.Unlock()
	if !listens(d) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	for _, p := range watched(d) {
		if watching[p] {
			continue
		}
		if err := s.observe(ctx, d, p); err != nil {
			return err
		}
	}
	return nil
}

// observe has a device tell of changes. A sensor that cannot is read, once for each
// registration: it must not stand in the way of all else.
func (s *session) observe(ctx context.Context, d *lwm2m.Device, p lwm2m.Path) error {
	sensor := isSensor(p)
	notify := func(records []lwm2m.Record) { s.take(d, records) }
	if sensor {
		notify = func(records []lwm2m.Record) { s.notified(d, p, records) }
		if err := d.WriteAttributes(ctx, p, lwm2m.MinPeriod(readingsPeriod)); unreachable(err) {
			return err
		}
	}
	first, err := d.Observe(ctx, p, notify)
	if sensor && err != nil && !unreachable(err) {
		s.log.Info("a sensor is not observed", "path", p.String(), "error", err)
		if first, err = d.Read(ctx, p); err != nil && !unreachable(err) {
			s.log.Info("a sensor is not shown", "path", p.String(), "error", err)
			err = nil
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.device != d {
		return nil // it has registered anew meanwhile
	}
	if s.watching[p] = true; !s.values.has(p) { // else notifications have brought newer ones
		s.values.take(first)
	}
	return nil
}

// take keeps what a registration of the device has told, if it is the present
// one.
func (s *session) take(d *lwm2m.Device, records []lwm2m.Record) {
	s.mu.Lock()
	if s.device == d {
		s.values.take(records)
	}
	s.mu.Unlock()
	s.poke()
}

func (v values) has(instance lwm2m.Path) bool {
	for p := range v {
		if instance.Contains(p) {
			return true
		}
	}
	return false
}

// hear gets the twin if it may have changed.
func (s *session) hear(ctx context.Context) error {
	s.mu.Lock()
	fresh := s.fresh
	s.fresh = true
	s.mu.Unlock()
	if fresh && s.base != nil {
		return nil
	}
	desired, reported, err := s.link.get(ctx)
	if err == nil {
		err = s.own(ctx, reported)
	}
	if err != nil {
		s.unsure()
		return err
	}
	s.base = reported
	s.wants, s.refused = readDesired(desired)
	s.repair = readRepair(desired, s.refused)
	s.resources, s.version = readResources(desired, s.refused), iothub.Section(desired).Version()
	s.recall(reported)
	s.recallViews(reported)
	if s.job == nil {
		s.job = recallJob(reported)
	}
	if s.pushed = markOfPush(desired["update"]); s.pushed == "" {
		s.checked = ""
	}
	if s.checked = cmp.Or(s.checked, orEmpty(reported["checked"])); s.checked == s.pushed {
		for name, w := range s.wants {
			w.check = false // it was looked for when this push was new
			s.wants[name] = w
		}
	}
	return nil
}

// ask writes to the device what is wanted of it, where it knows otherwise.
func (s *session) ask(ctx context.Context) error {
	s.mu.Lock()
	d, known := s.device, maps.Clone(s.values)
	ready := s.observed()
	s.mu.Unlock()
	if !listens(d) || !ready {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	instances := known.components()
	errs := []error{s.askForRepair(ctx, d, known)}
	for _, name := range slices.Sorted(maps.Keys(s.wants)) {
		if s.named(name) != nil {
			continue // it is updated by the session itself
		}
		instance, there := instances[name]
		if !there {
			s.refused["components/"+name] = fmt.Sprintf("this device has no component %s: tranquil wish drop %s %[1]s takes back what is asked of it", name, s.endpoint)
			continue
		}
		errs = append(errs, s.askFor(ctx, d, name, instance, known.want(instance)))
	}
	return errors.Join(append(errs, s.askForResources(ctx, d))...)
}

// askForRepair has the agent leave safe mode, if that repair is a new one. An
// agent may have forgotten that it has ended: the twin has not.
func (s *session) askForRepair(ctx context.Context, d *lwm2m.Device, known values) error {
	done := max(known.repaired(), repairedOf(s.base))
	for _, instance := range known.components() {
		if s.repair == 0 || s.repair == done {
			return nil
		}
		path := lwm2m.NewPath(objects.ComponentUpdateID, instance, objects.ComponentRepair)
		return d.Execute(ctx, path, "0='"+strconv.FormatInt(s.repair, 10)+"'") // any instance: the agent is one
	}
	return nil
}

func (s *session) askFor(ctx context.Context, d *lwm2m.Device, name string, instance uint16, asked want) error {
	w := s.wants[name].kept(asked)
	path := lwm2m.NewPath(objects.ComponentUpdateID, instance)
	check := w.check
	w.check = false
	if err := s.mend(ctx, d, name, instance, w.mend); err != nil {
		return err
	}
	w.mend = mend{}
	if w.means != (means{}) {
		s.refuse(name, "delivery, platform and object are for devices that know only objects 5 and 9: this one chooses by itself")
		w.means = means{}
	}
	if w != asked {
		if err := s.write(ctx, d, name, path, w, asked); err != nil {
			return err
		}
		s.log.Info("wish written to the device", "component", name, "version", w.version, "package", w.file, "check", w.schedule)
	}
	if check {
		if err := d.Execute(ctx, path.Child(objects.ComponentCheckNow), ""); err != nil {
			return err
		}
		s.checked = s.pushed
	}
	w = s.wants[name]
	w.check = false
	s.wants[name] = w
	return nil
}

// mend has the device do what was decided of a component, if that is a new
// repair; before the wishes, of which a new version may be one. What the device
// refuses is told.
func (s *session) mend(ctx context.Context, d *lwm2m.Device, name string, instance uint16, m mend) error {
	s.mu.Lock()
	done := max(s.values.component(instance, objects.ComponentMended).Int(), mendedOf(s.base, name))
	s.mu.Unlock()
	if m.number == 0 || m.number == done {
		return nil
	}
	path := lwm2m.NewPath(objects.ComponentUpdateID, instance, objects.ComponentRepair)
	err := d.Execute(ctx, path, fmt.Sprintf("0='%d',1='%s'", m.number, m.state))
	if refused, is := errors.AsType[*lwm2m.Error](err); is && refused.Code>>5 == 4 {
		s.refuse(name, "repair: the device refused: "+refused.Error())
		return nil
	}
	return err
}

// tell patches the reported properties, if the device has something new.
func (s *session) tell(ctx context.Context) error {
	s.mu.Lock()
	gone := s.device == nil
	ready := s.observed() && (len(standard(s.device)) == 0 || s.looked == s.device)
	doc := s.values.reported(s.refused, s.base, s.answers)
	if !gone && s.device.Registration().QueueMode {
		doc["sleeps"] = true
	}
	s.mu.Unlock()
	if gone {
		doc = maps.Clone(s.base)
		doc["state"] = offline
	} else if !ready {
		return nil
	}
	s.show(doc, gone)
	shrink(doc)
	doc[ownerKey] = s.bridge
	if s.checked != "" && s.checked == s.pushed {
		doc["checked"] = s.checked
	}
	if done := s.done(); len(done) > 0 {
		doc["executed"] = done
	}
	if given := s.marks(); len(given) > 0 {
		doc["given"] = given
	}
	if views := s.views(); len(views) > 0 {
		doc["observed"] = views
	}
	return s.report(ctx, doc)
}

// report has the hub have a document. What it refuses are most likely resources of the
// device: all else must reach it.
func (s *session) report(ctx context.Context, doc map[string]any) error {
	doc, _ = fitting(doc).(map[string]any)
	patch := diff(s.base, doc)
	if len(patch) == 0 {
		return nil
	}
	err := s.link.report(ctx, patch)
	if refused, is := errors.AsType[hubError](err); is && patch["lwm2m"] != nil {
		s.log.Error("the hub does not take the resources of a device", "error", refused)
		doc["lwm2m"] = map[string]any{"omitted": "the hub does not take the resources of this device"}
		err = s.link.report(ctx, diff(s.base, doc))
	}
	if err != nil {
		s.unsure()
		return err
	}
	s.base = doc
	return nil
}
