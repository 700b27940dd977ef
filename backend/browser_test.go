package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A screen is what pages are looked at with.
type screen struct {
	name          string
	width, height int64
	mobile        bool
	scheme        string
}

var screens = []screen{
	{"desktop", 1280, 900, false, "light"},
	{"phone", 390, 844, true, "light"},
	{"dark", 1280, 900, false, "dark"},
}

// chromium opens a browser, or skips loudly.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("######## chromium is missing: the pages are NOT TESTED in a browser. Run make deps. ########")
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.IgnoreCertErrors)...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // starts it
		t.Fatal(err)
	}
	return ctx
}

// do runs actions, and fails with what the page has.
func do(t *testing.T, ctx context.Context, what string, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := chromedp.Do(limited, actions...); err != nil {
		t.Fatalf("%s: %v; the page has:\n%.2000s", what, err, see(t, ctx, chromedp.Text("body")))
	}
}

// see answers what an action finds.
func see[T any](t *testing.T, ctx context.Context, find chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := chromedp.Run(ctx, find)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// shoot looks at a page on each screen: nothing may be wider than that. Pictures go to $TRANQUIL_SCREENSHOTS, if set.
func shoot(t *testing.T, ctx context.Context, name, address string) {
	t.Helper()
	dir := os.Getenv("TRANQUIL_SCREENSHOTS")
	for _, s := range screens {
		var options []chromedp.EmulateViewportOption
		if s.mobile {
			options = append(options, chromedp.EmulateMobile)
		}
		scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}}}
		if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, scheme); err != nil {
			t.Fatal(err)
		}
		do(t, ctx, name+" on "+s.name, chromedp.EmulateViewport(s.width, s.height, options...), chromedp.Navigate(address))
		if wide := see(t, ctx, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)); wide > s.width {
			t.Errorf("%s is %d wide on a %s of %d", name, wide, s.name, s.width)
		}
		if dir == "" {
			continue
		}
		picture := see(t, ctx, chromedp.FullScreenshot(100))
		if err := os.WriteFile(filepath.Join(dir, name+"-"+s.name+".png"), picture, 0o644); err != nil {
			t.Error(err)
		}
	}
	do(t, ctx, "the usual screen", chromedp.EmulateViewport(1280, 900))
}

// unnamed lists what can be used but has no name for who cannot see it, and fields whose ids are not unique.
const unnamed = `(() => {
  const bad = [];
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!e.labels?.length && !e.ariaLabel) bad.push("field " + e.name);
  for (const e of document.querySelectorAll("button, a"))
    if (!e.innerText.trim() && !e.hidden && !e.ariaLabel && e.checkVisibility()) bad.push(e.outerHTML.slice(0, 80));
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((x) => x === id).length > 1) bad.push("id " + id + " twice");
  if (document.querySelectorAll("h1").length !== 1) bad.push("not one h1");
  return bad.join("; ");
})()`

// TestBrowser is an operator's day in a browser: it logs in by keyboard, registers a device, sees it come and be
// updated without loading the page again, edits its twin, asks it, uploads a package and pushes it.
func TestBrowser(t *testing.T) {
	t.Parallel()
	ctx := chromium(t)
	r := start(t)
	c := r.bearer(t, "admin", r.admin)
	for version, schema := range map[string]int{"1.0.0": 1, "2.0.0": 2, "2.1.0": 2} {
		c.upload(t, build(t, version, schema))
	}
	for _, d := range []doc{{"id": "press-7", "tags": doc{"site": "bern", "hall": 3}}, {"id": "press-8"}, {"id": "sensor-12"}} {
		c.call(t, "POST", "/api/v1/devices", d, nil)
	}
	r.connect(t, "press-7", doc{"state": "malfunction", "mode": "safe", "fault": "journal: checksum mismatch", "components": doc{greeter: doc{
		"version": "1.0.0", "schema": 1, "running": false, "update": doc{"id": "a", "to": "2.0.0", "result": "turned back", "cause": "never healthy", "downtime": 2.5},
	}}})
	r.connect(t, "sensor-12", doc{"state": "online", "components": doc{greeter: doc{"version": "0.9.0", "schema": 1, "running": true}}})

	do(t, ctx, "log in by keyboard",
		chromedp.Navigate(r.url+"/devices/pump-1"),
		chromedp.WaitVisible(`input[name=user]`),
		chromedp.KeyEvent("admin\t"+r.admin+"\r"),
		chromedp.WaitVisible(`.problem`), // that device is not there yet
		chromedp.Navigate(r.url+"/devices"),
		chromedp.SendKeys(`input[name=device]`, "pump-1\r"),
		chromedp.WaitVisible(`.said`),
	)
	g := r.connect(t, "pump-1", doc{
		"state": "online", "components": doc{greeter: doc{"version": "1.0.0", "schema": 1, "running": true}},
		"lwm2m": doc{"3": doc{"0": doc{"0": doc{"value": "Pumps & Co"}, "9": doc{"value": 80}}}, "3303": doc{"0": doc{"5700": doc{"value": 21.5, "ts": "2026-11-30T16:00:00.000Z"}}}},
	})
	do(t, ctx, "the page follows the device", chromedp.WaitVisible(`.component .badge.live`))

	shoot(t, ctx, "packages", r.url+"/packages")
	shoot(t, ctx, "package", r.url+"/packages/"+greeter)
	do(t, ctx, "push from the package", chromedp.Click(`a[href$="@2.0.0"]`), chromedp.WaitVisible(`fieldset`))
	shoot(t, ctx, "push", r.url+"/push?package="+greeter+"%402.0.0&q=pump")
	do(t, ctx, "push", chromedp.Click(`form[method=post].card button`), chromedp.WaitVisible(`.badge.good`), chromedp.Navigate(r.url+"/devices/pump-1"))
	until := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	g.report(t, doc{"state": "updating", "components": doc{greeter: doc{"stale": true, "update": doc{
		"id": "u1", "to": "2.0.0", "phase": "execution", "step": "save", "progress": 0.62, "predicted": 1.5, "unavailableUntil": until,
	}}}})
	do(t, ctx, "the update shows", chromedp.WaitVisible(`.timeline .now`), chromedp.WaitVisible(`.badge.stale`))
	shoot(t, ctx, "device", r.url+"/devices/pump-1")
	shoot(t, ctx, "devices", r.url+"/devices")
	do(t, ctx, "back", chromedp.Navigate(r.url+"/devices/pump-1"))
	outcome := doc{"id": "u1", "kind": "update", "from": "1.0.0", "to": "2.0.0", "result": "updated", "downtime": 1.25, "predicted": 1.5}
	g.report(t, doc{"state": "online", "components": doc{greeter: doc{
		"version": "2.0.0", "schema": 2, "stale": false, "outcome": outcome, "update": outcome,
		"previous": doc{"version": "1.0.0", "way": "transforms", "note": "the present state goes through them"},
	}}})
	do(t, ctx, "the end shows", chromedp.WaitVisible(`#outcomes .bars`))

	do(t, ctx, "edit the twin",
		chromedp.Navigate(r.url+"/devices/pump-1/twin"),
		chromedp.SetValue(`textarea[name=tags]`, `{"site": "zurich"`), chromedp.Click(`form.card button`), chromedp.WaitVisible(`.problem`),
		chromedp.SetValue(`textarea[name=tags]`, `{"site": "zurich"}`), chromedp.Click(`form.card:not(section *) button`), chromedp.WaitVisible(`.diff`))
	if diff := see(t, ctx, chromedp.Text(`.diff`)); !strings.Contains(diff, `+ `) || !strings.Contains(diff, "zurich") {
		t.Errorf("the diff is %q", diff)
	}
	do(t, ctx, "save the twin", chromedp.Click(`section form button`), chromedp.WaitVisible(`.said`))
	shoot(t, ctx, "twin", r.url+"/devices/pump-1/twin")
	do(t, ctx, "ask the device", chromedp.Navigate(r.url+"/devices/pump-1/resources?path=/3/0/9"), chromedp.Click(`button[value=read]`),
		chromedp.WaitVisible(`#call ~ pre`))
	if answer := see(t, ctx, chromedp.Text(`#call ~ pre`)); !strings.Contains(answer, "80") {
		t.Errorf("the answer is %q", answer)
	}
	shoot(t, ctx, "resources", r.url+"/devices/pump-1/resources?path=/3/0/9")
	for _, path := range []string{"account", "users", "webhooks", "audit"} {
		shoot(t, ctx, path, r.url+"/"+path)
	}
	for _, path := range []string{"/devices", "/devices/pump-1", "/devices/pump-1/twin", "/devices/pump-1/resources", "/packages", "/packages/" + greeter, "/push?package=" + greeter + "%402.1.0", "/account", "/users", "/webhooks", "/audit?verify=all"} {
		do(t, ctx, path, chromedp.Navigate(r.url+path))
		if bad := see(t, ctx, chromedp.Evaluate[string](unnamed)); bad != "" {
			t.Errorf("%s: %s", path, bad)
		}
	}
	trouble(t, ctx, r)
	do(t, ctx, "a webhook", chromedp.Navigate(r.url+"/webhooks"), chromedp.SendKeys(`input[name=url]`, "https://example.invalid/tranquil\r"), chromedp.WaitVisible(`input.secret`))
	do(t, ctx, "log out", chromedp.Click(`.who button`), chromedp.WaitVisible(`input[name=user]`))
	shoot(t, ctx, "login", r.url+"/login")
	do(t, ctx, "the session has ended", chromedp.Navigate(r.url+"/devices"), chromedp.WaitVisible(`input[name=user]`))
}

// trouble looks at devices that somebody has to look after: in safe mode, with a component that stays stopped, with an
// update that is overdue; and at readings that are masked.
func trouble(t *testing.T, ctx context.Context, r *running) {
	reading := func(value float64) doc {
		return doc{"3303": doc{"0": doc{"5700": doc{"value": value, "ts": "2026-11-30T16:00:00.000Z"}, "5701": doc{"value": "Cel"}, "5750": doc{"value": greeter}}}}
	}
	r.connect(t, "press-8", doc{"state": "malfunction", "lwm2m": reading(60.5), "components": doc{greeter: doc{
		"version": "2.0.0", "schema": 2, "running": false,
		"update": doc{"id": "b", "to": "2.0.0", "result": "inconsistent", "cause": "cannot hand back the state: no space left on device; it stays stopped: tranquil repair"},
		"states": doc{"7": doc{"version": "1.0.0", "schema": 1, "savedAt": "2026-11-30T15:00:00Z", "bytes": 5120}, "9": doc{"version": "2.0.0", "schema": 2, "savedAt": "2026-11-30T16:00:00Z", "bytes": 6000, "damaged": true}},
	}}})
	c := r.bearer(t, "admin", r.admin)
	c.call(t, "POST", "/api/v1/devices", doc{"id": "press-9", "tags": doc{"site": "bern", "hall": 3}}, nil)
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	r.connect(t, "press-9", doc{"state": "updating", "lwm2m": reading(58), "components": doc{greeter: doc{
		"version": "1.0.0", "schema": 1, "stale": true, "update": doc{"id": "c", "to": "2.0.0", "phase": "execution", "step": "save", "progress": 0.6, "unavailableUntil": past},
	}}})
	do(t, ctx, "it is overdue", chromedp.Navigate(r.url+"/devices/press-9"), chromedp.WaitVisible(`#components > .problem`))
	shoot(t, ctx, "safe", r.url+"/devices/press-7")
	shoot(t, ctx, "overdue", r.url+"/devices/press-9")
	shoot(t, ctx, "masked", r.url+"/devices/press-9/resources")
	if elsewhere := see(t, ctx, chromedp.Text(`#resources .note`)); !strings.Contains(elsewhere, "pump-1") || strings.Contains(elsewhere, "press-8") {
		t.Errorf("live elsewhere: %q", elsewhere)
	}
	shoot(t, ctx, "stopped", r.url+"/devices/press-8")
	shoot(t, ctx, "troubles", r.url+"/devices")
	do(t, ctx, "repair it", chromedp.Navigate(r.url+"/devices/press-8"), chromedp.SetValue(`.problem select`, "7"), chromedp.Click(`.problem button`), chromedp.WaitVisible(`.said`))
	if _, twin := c.send(t, "GET", "/api/v1/devices/press-8/twin", "", nil); !strings.Contains(twin, `"repair":{"number":1,"state":7}`) {
		t.Errorf("it is not asked to go on with state 7: %s", twin)
	}
	do(t, ctx, "leave safe mode", chromedp.Navigate(r.url+"/devices/press-7"), chromedp.Click(`.problem button`), chromedp.WaitVisible(`.said`))
	for _, device := range []string{"press-7", "press-8", "press-9"} {
		do(t, ctx, device, chromedp.Navigate(r.url+"/devices/"+device))
		if bad := see(t, ctx, chromedp.Evaluate[string](unnamed)); bad != "" {
			t.Errorf("%s: %s", device, bad)
		}
	}
}
