package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// wish publishes a version and asks for it, as an operator would.
func (d *demo) wish(ctx context.Context, version string) error {
	d.say("tranquil package build and push, trust sign: version %s", version)
	if err := d.system.Publish(ctx, version); err != nil {
		return err
	}
	wish := fmt.Sprintf(`{"version": %q}`, version)
	d.say(`tranquil twin patch %s '{"properties": {"desired": {"components": {%q: %s}}}}'`, d.system.Device, rig.SensorAdapter, wish)
	return d.system.Wish(ctx, rig.SensorAdapter, wish)
}

// update is wish, and awaits the result.
func (d *demo) update(ctx context.Context, version string) (rig.Component, error) {
	before, err := d.system.Reported(ctx)
	if err != nil {
		return rig.Component{}, err
	}
	if err := d.wish(ctx, version); err != nil {
		return rig.Component{}, err
	}
	return d.system.Ended(ctx, before.Components[rig.SensorAdapter].Update.ID)
}

// claimUnbroken says that all readings of before are still there, that more
// have come, and that none is missing or twice.
func (d *demo) claimUnbroken(what string, before audit.Report, schema int) error {
	if err := d.awaitReading(before.Count() + 1); err != nil {
		return err
	}
	after, err := d.audited()
	if err != nil {
		d.claim(what, "an unbroken sequence", err.Error(), false)
		return nil
	}
	kept := after.Digest(before.Count()) == before.Digest(before.Count())
	seen := fmt.Sprintf("schema %d, 1 to %d", after.Schema, after.Count())
	if !kept {
		seen += ", but others than before"
	}
	d.claim(what, fmt.Sprintf("schema %d, 1 to over %d", schema, before.Count()), seen,
		kept && after.Schema == schema && after.Count() > before.Count())
	return nil
}

// claimTakenBack says that version 2 went on exactly where it had ended,
// although version 3 had added to the state. The programs' own logs tell.
func (d *demo) claimTakenBack() {
	var ended, wentOn, added int
	for _, path := range logs(d.dir) {
		b, _ := os.ReadFile(path)
		for _, found := range lifeLine.FindAllStringSubmatch(string(b), -1) {
			seq, _ := strconv.Atoi(found[3])
			switch found[1] + " " + found[2] {
			case "2.0.0 ends":
				ended = seq
			case "2.0.0 goes on":
				wentOn = seq
			case "3.0.0 ends":
				added = seq - ended
			}
		}
	}
	d.say("version 2 ended after reading %d, version 3 added %d, version 2 went on after reading %d", ended, added, wentOn)
	d.claim("exactly as it was", fmt.Sprintf("on after %d, %d taken back", ended, max(added, 1)),
		fmt.Sprintf("on after %d, %d taken back", wentOn, added), ended > 0 && ended == wentOn && added > 0)
}

// lifeLine is what an adapter prints when it begins and when it ends.
var lifeLine = regexp.MustCompile(`sensor-adapter ([0-9.]+) (goes on|ends) after reading ([0-9]+)`)

// fingerprint is the SHA-256, shortened, of the calibration and of the first
// segments of the history.
func (d *demo) fingerprint(segments int) (string, error) {
	running, err := d.running()
	if err != nil {
		return "", err
	}
	names := []string{"calibration.json"}
	for n := range segments {
		names = append(names, fmt.Sprintf("history/%06d.json", n+1))
	}
	sum := sha256.New()
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(running.State, name))
		if err != nil {
			return "", err
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// awaitReading waits until the running component has stored a reading.
func (d *demo) awaitReading(seq int) error {
	var report audit.Report
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		running, failed := d.running()
		if err = failed; err != nil {
			continue
		}
		if report, err = audit.Dir(running.State); report.Count() >= seq {
			return nil
		}
	}
	return fmt.Errorf("waited in vain for reading %d: at %d, last error: %w", seq, report.Count(), err)
}

// awaitStopped returns as soon as no process of the component runs.
func (d *demo) awaitStopped(ctx context.Context) error {
	for deadline := time.Now().Add(rig.UpdateTime); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if len(d.system.Components(rig.SensorAdapter)) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("the component was not stopped within %s", rig.UpdateTime)
}

// claimLive says that new readings reach the twin.
func (d *demo) claimLive(ctx context.Context, what string) error {
	before, err := d.system.Reported(ctx)
	if err != nil {
		return err
	}
	after, err := d.system.Await(ctx, "a new reading", patience, func(r rig.Reported) bool {
		return reading(r).Value != nil && reading(r).TS != reading(before).TS
	})
	if ctx.Err() != nil {
		return err
	}
	seen := fmt.Sprint(reading(after).Value)
	if err != nil {
		seen = "still " + seen
	}
	d.claim(what, "a new temperature", seen, err == nil)
	return nil
}

// reading is the temperature in the twin.
func reading(r rig.Reported) rig.Value { return r.LwM2M["3303"]["0"]["5700"] }

// dashboardSaid returns what the dashboard has printed so far.
func (d *demo) dashboardSaid() string {
	b, _ := os.ReadFile(d.dashboard.Log)
	return string(b)
}

// claimToldStale says that the dashboard was told that data is stale, until
// when, and that it is live again.
func (d *demo) claimToldStale(ctx context.Context, before string) {
	seen := "nothing"
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		said := strings.TrimPrefix(d.dashboardSaid(), before)
		_, after, stale := strings.Cut(said, "stale")
		switch {
		case stale && strings.Contains(after, "until") && strings.Contains(after, "live"):
			d.claim("the dashboard knew", "stale until …, then live", "stale until …, then live", true)
			return
		case stale:
			seen = "stale, but not live again"
		}
	}
	d.claim("the dashboard knew", "stale until …, then live", seen, false)
}

// downtime is what the device measured.
func downtime(c rig.Component) string {
	return fmt.Sprintf("%.2f s", c.Update.Downtime)
}
