package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// scenes is the demo.
var scenes = []scene{
	{"Everything is built from source", build},
	{"A backend, a device and a dashboard start", start},
	{"Version 1 is installed: a component with state", install},
	{"Version 2 has another unit and another layout: the state is transformed", transform},
	{"Version 3 is never healthy: the update turns back", turnBack},
	{"Version 4 has a bad transform: it is refused before anything stops", refuse},
	{"The agent is killed in the middle of the update to version 5", kill},
	{"Version 6 is found by a scheduled check", pull},
	{"Whoever holds the backend, but no author's key, asks for a version of his own: it is refused", steal},
}

// patience is how long the demo waits for anything but an update.
const patience = 20 * time.Second

func build(ctx context.Context, d *demo) (err error) {
	d.say("agent, backend, updater, command line, dashboard, two sensor adapters; two state transforms to WebAssembly")
	d.say("the first time this takes a minute or two")
	d.built, err = rig.Build(ctx, filepath.Join(d.dir, "built"))
	return err
}

func start(ctx context.Context, d *demo) (err error) {
	d.system, err = rig.StartTrusting(ctx, d.built, filepath.Join(d.dir, "system"))
	if err != nil {
		return err
	}
	d.say("backend: twin hub (MQTT, REST), bridge (LwM2M to MQTT), file server (CoAP, HTTP)")
	d.say("an operator has said by whom packages have to be signed (tranquil trust init), and their author has a key")
	d.say("device: the agent with the application updater, registered by LwM2M")
	d.claim("the device is online", "online", "online", true)
	if d.dashboard, err = d.system.StartApplication("dashboard", "-device", d.system.Device); err != nil {
		return err
	}
	d.observe(ctx)
	return nil
}

func install(ctx context.Context, d *demo) error {
	c, err := d.update(ctx, "1.0.0")
	if err != nil {
		return err
	}
	d.claim("version 1 runs", "1.0.0, schema 1", fmt.Sprintf("%s, schema %d", c.Version, c.Schema),
		c.Version == "1.0.0" && c.Schema == 1 && c.Update.Result == "updated" && c.Running)
	if err := d.claimLive(ctx, "its readings reach the twin"); err != nil {
		return err
	}
	report, err := d.audited()
	if err != nil {
		return err
	}
	d.claim("its state is large enough to matter", "over 4000 readings", fmt.Sprint(report.Count()), report.Count() > 4000)
	return nil
}

func transform(ctx context.Context, d *demo) error {
	if err := d.showState("the state of version 1:"); err != nil {
		return err
	}
	before, err := d.audited()
	if err != nil {
		return err
	}
	told := d.dashboardSaid()
	c, err := d.update(ctx, "2.0.0")
	if err != nil {
		return err
	}
	if err := d.showState("the state of version 2:"); err != nil {
		return err
	}
	d.claimAfter(downtime(c), "version 2 runs", "2.0.0, schema 2", fmt.Sprintf("%s, schema %d", c.Version, c.Schema),
		c.Version == "2.0.0" && c.Schema == 2 && c.Update.Result == "updated" && c.Running)
	if err := d.claimUnbroken("version 2 goes on in kelvin", before, 2); err != nil {
		return err
	}
	d.claimToldStale(ctx, told)
	return nil
}

func turnBack(ctx context.Context, d *demo) error {
	before, err := d.audited()
	if err != nil {
		return err
	}
	full := before.Segments - 1 // the last one still grows
	bytes, err := d.fingerprint(full)
	if err != nil {
		return err
	}
	d.say("version 3 samples too, and writes to the state: all of that has to be taken back")
	c, err := d.update(ctx, "3.0.0")
	if err != nil {
		return err
	}
	d.say("cause: %s", c.Update.Cause)
	d.claimAfter(downtime(c), "version 3 turned back", "turned back, 2.0.0 runs",
		fmt.Sprintf("%s, %s runs", c.Update.Result, c.Version),
		c.Update.Result == "turned back" && c.Version == "2.0.0" && c.Running)
	if err := d.claimUnbroken("the state of version 2 is as it was", before, 2); err != nil {
		return err
	}
	d.claimTakenBack()
	after, err := d.fingerprint(full)
	d.claim("byte by byte", fmt.Sprintf("%d files are %s", full+1, bytes), fmt.Sprintf("%d files are %s", full+1, after), after == bytes)
	return err
}

func refuse(ctx context.Context, d *demo) error {
	before, err := d.running()
	if err != nil {
		return err
	}
	c, err := d.update(ctx, "4.0.0")
	if err != nil {
		return err
	}
	d.say("cause: %s", c.Update.Cause)
	after, err := d.running()
	if err != nil {
		return err
	}
	d.claimAfter(downtime(c), "version 4 is refused", "refused, 2.0.0 runs",
		fmt.Sprintf("%s, %s runs", c.Update.Result, c.Version),
		c.Update.Result == "refused" && c.Version == "2.0.0" && c.Running)
	d.claimAfter(downtime(c), "without downtime", fmt.Sprintf("process %d since %s", before.PID, before.Started),
		fmt.Sprintf("process %d since %s", after.PID, after.Started), before == after)
	return nil
}

func kill(ctx context.Context, d *demo) error {
	before, err := d.audited()
	if err != nil {
		return err
	}
	reported, err := d.system.Reported(ctx)
	if err != nil {
		return err
	}
	last := reported.Components[rig.SensorAdapter].Update.ID
	if err := d.wish(ctx, "5.0.0"); err != nil {
		return err
	}
	d.say("waiting for the component to be stopped")
	if err := d.awaitStopped(ctx); err != nil {
		return err
	}
	d.system.Agent.Kill()
	d.say("the agent got SIGKILL while the component is down")
	if err := d.system.StartAgent(ctx); err != nil {
		return err
	}
	d.say("the agent is started again")
	c, err := d.system.Ended(ctx, last)
	if err != nil {
		return err
	}
	d.claimAfter(downtime(c), "the update goes on after SIGKILL", "updated, 5.0.0, schema 3",
		fmt.Sprintf("%s, %s, schema %d", c.Update.Result, c.Version, c.Schema),
		c.Update.Result == "updated" && c.Version == "5.0.0" && c.Schema == 3)
	if err := d.claimUnbroken("its state was transformed whole", before, 3); err != nil {
		return err
	}
	return d.claimLive(ctx, "its readings reach the twin again")
}

func steal(ctx context.Context, d *demo) error {
	file, err := d.system.Package(ctx, "6.0.0", rig.Replace("6.0.0", "6.6.6"))
	if err != nil {
		return err
	}
	d.say("version 6.6.6 is pushed with the publisher's token, and is not signed for")
	if err := d.system.PushUnsigned(ctx, file); err != nil {
		return err
	}
	c, err := d.system.Update(ctx, "6.6.6")
	if err != nil {
		return err
	}
	d.say("cause: %s", c.Update.Cause)
	d.claim("what nobody has signed for is refused", "refused, 6.0.0 runs", fmt.Sprintf("%s, %s runs", c.Update.Result, c.Version),
		c.Update.Result == "refused" && c.Version == "6.0.0" && c.Running && strings.Contains(c.Update.Cause, "does not list"))
	return nil
}

func pull(ctx context.Context, d *demo) error {
	before, err := d.audited()
	if err != nil {
		return err
	}
	reported, err := d.system.Reported(ctx)
	if err != nil {
		return err
	}
	last := reported.Components[rig.SensorAdapter].Update.ID
	const schedule = `{"check": "*/5 * * * * *"}`
	d.say("the device shall look for a newer version every five seconds: %s", schedule)
	if err := d.system.Wish(ctx, rig.SensorAdapter, schedule); err != nil {
		return err
	}
	d.say("version 6 is put on the file server; nobody asks for it")
	if err := d.system.Publish(ctx, "6.0.0"); err != nil {
		return err
	}
	c, err := d.system.Ended(ctx, last)
	if err != nil {
		return err
	}
	d.claimAfter(downtime(c), "the device found version 6 itself", "updated, 6.0.0",
		fmt.Sprintf("%s, %s", c.Update.Result, c.Version), c.Update.Result == "updated" && c.Version == "6.0.0")
	if err := d.system.Wish(ctx, rig.SensorAdapter, `{"check": null}`); err != nil { // leave later wishes alone
		return err
	}
	return d.claimUnbroken("the sequence goes on", before, 3)
}
