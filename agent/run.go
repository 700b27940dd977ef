package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/agent/internal/delivery"
	"github.com/tranquil-iot/tranquil/agent/internal/dependants"
	"github.com/tranquil-iot/tranquil/agent/internal/device"
	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/fetch"
	"github.com/tranquil-iot/tranquil/agent/internal/history"
	"github.com/tranquil-iot/tranquil/agent/internal/link"
	"github.com/tranquil-iot/tranquil/agent/internal/logfile"
	"github.com/tranquil-iot/tranquil/agent/internal/manager"
	"github.com/tranquil-iot/tranquil/agent/internal/pluginhost"
	"github.com/tranquil-iot/tranquil/agent/internal/readings"
	"github.com/tranquil-iot/tranquil/agent/internal/recovery"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/agent/internal/store"
	"github.com/tranquil-iot/tranquil/agent/internal/watchdog"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/schedule"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// An agent is everything wired together.
type agent struct {
	config     config
	log        *slog.Logger
	store      *store.Store
	plugins    *pluginhost.Host
	metered    *fetch.Metered
	fetcher    *fetch.Fetcher
	trusting   sync.Mutex
	trust      *trust.Client // nil: not yet, or nobody has to sign
	manager    *manager.Manager
	content    *content.Store
	states     *state.Manager
	engine     *engine.Engine
	repair     *recovery.Recovery
	device     *device.Device
	desk       *delivery.Desk
	spool      *readings.Spool
	readings   *readings.Book
	dependants *dependants.Registry
	link       *link.Server
	history    *history.Book
	historian  *logfile.File // which history is written to

	registration registration
	restart      func() // has the agent start anew

	importing  sync.Mutex
	signatures sync.Map // what is known of signatures, by component: engine.Trust
	sideloads  sync.Map // what somebody has brought, by component: brought
	dependence sync.Mutex
	known      map[string]map[string]string // terms of dependants, by component; nil: not read yet
}

// run works until ctx ends. restart ends it too, and has the agent start anew.
func run(ctx context.Context, c config, log *slog.Logger, restart func()) error {
	a, err := wire(c, log, restart)
	if err != nil {
		return err
	}
	defer a.close()
	register, hangUp, err := a.connect()
	if err != nil {
		return err
	}
	defer hangUp()
	log.Info("agent starts", "version", version, "endpoint", c.Endpoint, "components", c.Components)

	work, cancel := context.WithCancel(ctx)
	parts := []func() error{
		func() error { return a.link.Serve(work) },
		func() error { return register(work) },
		func() error { a.desk.Resume(c.Components); return a.manager.Run(work) },
		func() error { return a.watched().Run(work) },
	}
	var beside sync.WaitGroup
	beside.Go(func() { a.checkContent(work) })
	beside.Go(func() { a.watchTrust(work) })
	beside.Go(func() { a.spool.Run(work, a.send) })
	beside.Go(func() { a.prove(work, log) })
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { ended <- part() }()
	}
	failure := first(work, <-ended) // whichever ends first ends all
	cancel()
	for range len(parts) - 1 {
		failure = errors.Join(failure, first(work, <-ended))
	}
	beside.Wait()
	log.Info("agent ends", "error", failure)
	return failure
}

// watched tells those who watch this process that the agent is well: if what
// operators ask is answered.
func (a *agent) watched() watchdog.Config {
	socket, within := watchdog.FromEnvironment()
	return watchdog.Config{Socket: socket, Within: within, Device: a.config.Watchdog, Log: a.log, Alive: func(ctx context.Context) error {
		_, err := link.Status(ctx, a.config.control())
		return err
	}}
}

// wire makes every part and introduces it to those it needs.
func wire(c config, log *slog.Logger, restart func()) (_ *agent, err error) {
	a := &agent{config: c, log: log, restart: restart}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make data directory: %w", err)
	}
	if a.store, err = store.Open(c.store(), log); err != nil {
		return nil, err
	}
	if d := a.store.Damage(); d.Found != nil {
		log.Error("the store was damaged", "found", d.Found, "kept", d.Kept, "lost", d.Lost, "volatile", d.Volatile)
	}
	if err := a.openHistory(); err != nil {
		log.Error("how updates end is not remembered", "error", err)
	}
	if a.content, err = content.Open(filepath.Join(c.Data, "content"), c.Reserve); err != nil {
		return nil, err
	}
	a.content.Spare = a.spare
	if a.metered, err = fetch.OpenMetered(filepath.Join(c.Data, "metered.json"), c.metered()); err != nil {
		return nil, err
	}
	if a.fetcher, err = fetch.New(a.fetching()); err != nil {
		return nil, err
	}
	if err := a.noteRegistered(false); err != nil { // the one before had this process
		return nil, err
	}
	a.checkTrust()
	if a.plugins, err = a.hostPlugins(); err != nil {
		return nil, err
	}
	sandbox := &host.Host{Cache: filepath.Join(c.Data, "compiled"), Reserve: c.Reserve, Ceiling: c.Transform.limits(), Log: log}
	a.states, err = state.Open(filepath.Join(c.Data, "state"), sandbox)
	if err != nil {
		return nil, err
	}
	for _, component := range c.Components {
		if err := a.states.Discard(component); err != nil {
			log.Warn("cannot remove what is left of an import", "component", component, "error", err)
		}
	}
	a.states.Logger = log
	a.states.Retention = state.Retention{Keep: c.State.Keep, For: time.Duration(c.State.KeepFor), Space: c.State.KeepSpace}
	if a.spool, err = readings.OpenSpool(filepath.Join(c.Data, "readings"), log); err != nil {
		return nil, err
	}
	a.readings = readings.New(readings.Config{
		Memory: a.store, Spool: a.spool, Log: log, Show: func(r component.Reading) error { return a.device.Publish(r) },
		Deliver: func(ctx context.Context, component string) error { return a.device.Deliver(ctx, component) },
	})
	a.dependants = dependants.New(dependants.Config{
		Declared: a.declared,
		Memory:   a.store, Again: func(component string) { a.manager.Again(component) }, Log: log,
	})
	a.engine = &engine.Engine{
		Dependants: a.dependants,
		Readings:   a.readings,
		Journal:    a.store, Inventory: inventory{a.store, a.trusted}, Source: source{a.fetcher}, Vouch: a.vouch, Content: a.content, States: a.states, Marks: a.states, Transform: a.states, Rehearsals: a.states, Ready: a.ready(sandbox),
		Updater: a.plugins.Updater, Platform: pack.Here(), Log: log, KeepPackages: c.State.KeepPackages, KeepBase: c.Files.Deltas,
		Tell:     func(p engine.Progress) { a.manager.Progress(p) },
		Announce: func(ctx context.Context, component string) { a.device.Announce(ctx, component) },
		Permit:   a.permit, Turn: a.turn, Short: a.short, Boot: bootOf, Reboot: a.waitsForBoot,
	}
	a.repair = &recovery.Recovery{Memory: a.store, Notes: a.store, Engine: a.engine, Pairs: a.engine, Choices: a.engine, Begin: a.engine.Begin, Halted: a.halted, Updater: a.plugins.Updater, Damage: a.store.Damage(), Log: log}
	a.repair.Check(c.Components)
	a.manager = manager.New(manager.Config{
		Components: c.Components, Memory: a.store, Run: a.update, Cancel: a.engine.Cancel, Journal: a.store.Load, Ask: c.Ask, Check: a.check, Ensure: a.ensure, Keep: a.keep, Running: a.running,
		WayBack: a.engine.WayBack, States: a.saved, Tidy: a.tidy, Dependants: a.terms, Trust: a.trustOf,
		Repair: a.mend, Fault: a.repair.Fault, Repaired: a.store, Changed: a.changed, Log: log,
	})
	a.link = link.New(link.Config{
		Link: c.link(), Control: c.control(), Views: a.views, Agent: a.about, History: a.history.All, Logs: recent.Lines, Metrics: a.metrics, Restart: restart, Repair: a.manager.Repair, Dependants: a.dependants, Consent: a.manager.Consent, Cancel: a.manager.Cancel, Mend: operator{a}.Mend, States: operator{a}, Import: operator{a}.Import, Sideload: operator{a}.Sideload, Log: log, Publish: a.publish,
	})
	a.desk = delivery.New(delivery.Config{
		Book: a.manager, Content: a.content, Collect: a.released, Locate: a.locate, Judge: judge, Platform: pack.Here(), Log: log,
	})
	a.device, err = device.New(device.Config{
		Endpoint: c.Endpoint, Server: c.server(), Also: c.LwM2M.Also, Lifetime: time.Duration(c.LwM2M.Lifetime), Registered: a.registered, Version: version,
		CoAPS: a.secured() != nil, CoAPTLS: c.LwM2M.Cert != "", Firmware: c.Firmware, Deliveries: a.desk, Data: c.Data, Reboot: a.reboot(),
		Components: c.Components, Manager: a.manager, Schedule: schedule.Check, Window: manager.CheckWindow, Outbox: a.store, Log: log,
	})
	if err != nil {
		return nil, err
	}
	if err := a.readings.Restore(); err != nil {
		log.Error("readings of before are lost", "error", err)
	}
	return a, nil
}

// short says whether the disk that holds a component and its state is too full.
func (a *agent) short(component string) error {
	kind, _, _ := strings.Cut(component, "/")
	return content.Full(filepath.Join(a.config.updaters(), kind), a.config.Reserve)
}

// letPass lets others reach what is theirs in the agent's directories, and see no
// more of them: all else in there is in directories that only the agent enters.
func (a *agent) letPass() error {
	var errs []error
	for _, dir := range []string{a.config.Data, a.config.updaters(), a.config.Run, filepath.Join(a.config.Run, "updater")} {
		errs = append(errs, os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o711))
	}
	return errors.Join(errs...)
}

func (a *agent) hostPlugins() (*pluginhost.Host, error) {
	var configs []pluginhost.Config
	for _, u := range a.config.Updaters {
		as, err := u.runsAs()
		if err == nil && as != nil {
			err = a.letPass()
		}
		if err != nil {
			return nil, fmt.Errorf("cannot run updater %s as another user: %w", u.Type, err)
		}
		path, sum, err := u.program()
		if err != nil {
			return nil, fmt.Errorf("cannot find updater %s: %w", u.Type, err)
		}
		configs = append(configs, pluginhost.Config{
			Type: u.Type, Path: path, SHA256: sum, Answer: time.Duration(u.Answer), Memory: u.Memory, Files: u.Files, User: as,
		})
	}
	return pluginhost.New(configs, pluginhost.Options{
		Data: a.config.updaters(), Run: filepath.Join(a.config.Run, "updater"),
		Link: a.config.link(), Logger: a.log,
	})
}

// close ends what wire began; components run on.
func (a *agent) close() {
	if a.historian != nil {
		a.historian.Close()
	}
	if a.desk != nil {
		a.desk.Close()
	}
	if a.plugins != nil {
		a.plugins.Close()
	}
	if a.fetcher != nil {
		a.fetcher.Close()
	}
	if a.metered != nil {
		if err := a.metered.Close(); err != nil {
			a.log.Error("the bytes of metered links are forgotten", "error", err)
		}
	}
	if a.spool != nil {
		if err := a.spool.Close(); err != nil {
			a.log.Error("cannot close the spool of readings", "error", err)
		}
	}
	if a.store != nil {
		if err := a.store.Close(); err != nil {
			a.log.Error("cannot close the store", "error", err)
		}
	}
}

// publish takes a reading of a component.
func (a *agent) publish(r component.Reading) error {
	err := a.readings.Publish(r)
	if errors.Is(err, readings.ErrAway) {
		return fmt.Errorf("%w: %w", link.ErrLater, err)
	}
	return err
}

// sendTimeout bounds how long a server may take for some readings.
const sendTimeout = 2 * time.Minute

// send gives the server readings.
func (a *agent) send(ctx context.Context, some []component.Reading) error {
	err := inHalves(some, func(some []component.Reading) error {
		ctx, cancel := context.WithTimeout(ctx, sendTimeout)
		defer cancel()
		return a.device.Send(ctx, some)
	}, func(r component.Reading, err error) {
		a.log.Warn("the server refuses a reading, which is shown only", "component", r.Component, "object", r.Object, "error", err)
	})
	if refusal, is := errors.AsType[*lwm2m.Error](err); is && refusal.Code>>5 == 4 {
		return fmt.Errorf("%w: %w", readings.ErrRefused, err)
	}
	return err
}

// inHalves sends readings. If the server does not understand them, or they are too much,
// it gets them in halves, so that a single one that it refuses costs no other.
func inHalves(some []component.Reading, send func([]component.Reading) error, refused func(component.Reading, error)) error {
	err := send(some)
	switch {
	case !errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeBadRequest}) && !errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeTooLarge}):
		return err
	case len(some) == 1:
		refused(some[0], err)
		return nil
	}
	half := len(some) / 2
	if err := inHalves(some[:half], send, refused); err != nil {
		return err
	}
	return inHalves(some[half:], send, refused)
}

// registered hears that the device is registered, or is not any more.
func (a *agent) registered(yes bool) {
	a.registration.tell(yes)
	if err := a.noteRegistered(yes); err != nil {
		a.log.Error("cannot note whether the device is registered", "error", err)
	}
	if yes {
		a.spool.Wake()
	}
}

// changed passes news of a component on to the server and to local dependants.
func (a *agent) changed(component string) {
	if v, err := a.manager.View(component); err == nil {
		a.desk.Observe(v)
		a.unload(v)
	}
	a.device.Changed(component)
	if v, err := a.manager.View(component); err == nil {
		a.link.Tell(v)
		a.dependants.Tell(v)
		if err := a.history.Note(v.Outcome); err != nil {
			a.log.Error("an outcome is not remembered", "error", err)
		}
	}
}

// maxHistory bounds what is remembered of updates, in bytes: some hundreds.
const maxHistory = 512 << 10

func (a *agent) openHistory() (err error) {
	path := filepath.Join(a.config.Data, "history")
	if a.historian, err = logfile.Open(path, maxHistory); err != nil {
		a.history, _ = history.Open(path, io.Discard)
		return err
	}
	a.history, err = history.Open(path, a.historian)
	return err
}

// started is when this process became the agent.
var started = time.Now()

// about is what the agent says of itself.
func (a *agent) about() link.Agent {
	registered, since := a.registration.about()
	server := a.config.server()
	if len(a.config.LwM2M.Also) > 0 {
		server = a.device.Server()
	}
	return link.Agent{
		Version: version, PID: os.Getpid(), Started: started, Endpoint: a.config.Endpoint,
		Server: server, Registered: registered, Since: since,
	}
}

func (a *agent) views() (views []engine.View) {
	for _, c := range a.config.Components {
		if v, err := a.manager.View(c); err == nil {
			views = append(views, v)
		}
	}
	return views
}

// call gives f the updater of a component, once it runs. One that does not
// answer in time is killed: the next call finds a new one.
func (a *agent) call(ctx context.Context, component string, within time.Duration, f func(context.Context, *updater.Client) error) error {
	kind, _, _ := strings.Cut(component, "/")
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	u, err := a.plugins.Updater(limited, kind)
	if err != nil {
		return err
	}
	err = f(limited, u)
	if limited.Err() != nil && ctx.Err() == nil {
		a.log.Error("updater does not answer and is killed", "updater", kind, "within", within)
		u.Kill()
	}
	return err
}

// statusWithin is how long an updater may take to tell whether a component
// runs.
const statusWithin = 15 * time.Second

func (a *agent) running(ctx context.Context, component string) (runs bool) {
	err := a.call(ctx, component, statusWithin, func(ctx context.Context, u *updater.Client) error {
		status, err := u.Status(ctx, updater.StatusRequest{Component: component})
		runs = status.Running
		return err
	})
	if err != nil && ctx.Err() == nil {
		a.log.Warn("cannot ask whether the component runs", "component", component, "error", err)
	}
	return runs
}

func (a *agent) check(ctx context.Context, component, current string) (manager.Found, bool, error) {
	p := pack.Here()
	found, err := a.fetcher.Check(ctx, component, current, fetch.Platform{OS: p.OS, Arch: p.Arch, Variant: p.Variant})
	return manager.Found{Version: found.Version, Digest: found.Digest}, found.Version != "", err
}
