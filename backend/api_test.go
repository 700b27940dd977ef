package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/api"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

const (
	greeter   = "application/greeter"
	ofGreeter = "/api/v1/devices/pump-1/components/application/greeter"
)

// doc is a JSON document.
type doc = map[string]any

// component reports one component.
func reports(name string, fields doc) doc { return doc{"components": doc{name: fields}} }

// TestAPI is an operator's day over the API.
func TestAPI(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.bearer(t, "admin", r.admin)
	devices(t, c)
	updates(t, c)
	orders(t, c)
	changes(t, c)
}

// devices come, are found, and have keys.
func devices(t *testing.T, c *caller) {
	want := c.wants(t)
	want(200, "POST", "/api/v1/devices", doc{"id": "pump-1", "tags": doc{"site": "zurich"}}, nil)
	want(409, "POST", "/api/v1/devices", doc{"id": "pump-1"}, nil)
	want(400, "POST", "/api/v1/devices", doc{"id": "a b"}, nil)
	want(400, "POST", "/api/v1/devices", doc{"id": "x", "tag": 1}, nil)
	var d fleet.Device
	want(200, "GET", "/api/v1/devices/pump-1", nil, &d)
	if d.State != fleet.New || d.Tags["site"] != "zurich" {
		t.Errorf("%+v", d)
	}

	var keys, renewed fleet.Keys
	want(200, "GET", "/api/v1/devices/pump-1/keys", nil, &keys)
	cs, err := iothub.ParseConnectionString(keys.ConnectionString)
	if err != nil || cs.DeviceID != "pump-1" || cs.Key != keys.Primary || cs.HostName != c.endpoints.Hub.MQTT {
		t.Error(cs.HostName, cs.DeviceID, err)
	}
	want(200, "POST", "/api/v1/devices/pump-1/keys", nil, &renewed)
	if renewed.Primary == keys.Primary || renewed.Secondary == keys.Secondary {
		t.Error("the keys are the old ones")
	}

	c.connect(t, "pump-1", reports(greeter, doc{"version": "1.0.0", "schema": 1, "running": true}))
	eventually(t, "the device reports", func() bool {
		want(200, "GET", "/api/v1/devices/pump-1", nil, &d)
		return len(d.Components) == 1 && d.Components[0].Masking.State == "live"
	})
	for query, found := range map[string]int{"pump": 1, "PUMP": 1, "x": 0, "state:online": 1, "-state:online": 0, "greeter": 0, "application/": 1, greeter + "@1.0.0": 1, greeter + "@!1.0.0": 0, "tags.site:zurich pump": 1, "tags.site:bern": 0, "tags.site.x:zurich": 0, "result:failed": 0} {
		var list api.DeviceList
		want(200, "GET", "/api/v1/devices?q="+strings.NewReplacer(" ", "+", "!", "%21").Replace(query), nil, &list)
		if list.Total != found {
			t.Errorf("%q finds %d, want %d", query, list.Total, found)
		}
	}
}

// updates are asked for, answered and taken back.
func updates(t *testing.T, c *caller) {
	want := c.wants(t)
	var d fleet.Device
	g := c.connect(t, "pump-1", doc{})
	want(204, "PUT", ofGreeter+"/version", doc{"version": "2.0.0"}, nil)
	want(400, "PUT", ofGreeter+"/version", doc{"version": "two"}, nil)
	want(404, "PUT", strings.Replace(ofGreeter, "pump-1", "pump-9", 1)+"/version", doc{"version": "2.0.0"}, nil)
	var twin api.Twin
	want(200, "GET", "/api/v1/devices/pump-1/twin", nil, &twin)
	wish, _ := twin.Desired["components"].(doc)[greeter].(doc)
	if wish["version"] != "2.0.0" {
		t.Errorf("%+v", twin.Desired)
	}
	want(204, "PATCH", ofGreeter+"/terms", doc{"check": "0 */6 * * *", "window": "Mon-Fri 01:00-04:30", "consent": true}, nil)
	for _, bad := range []doc{{}, {"check": "often"}, {"window": "at night"}} {
		want(400, "PATCH", ofGreeter+"/terms", bad, nil)
	}
	want(400, "POST", ofGreeter+"/cancel", nil, nil)
	g.report(t, reports(greeter, doc{"stale": true, "update": doc{"id": "u1", "to": "2.0.0", "phase": "preparation", "step": "admit", "progress": 0.4, "waitingFor": "consent", "unavailableUntil": "2001-01-01T00:00:00Z"}}))
	eventually(t, "the update shows", func() bool {
		want(200, "GET", "/api/v1/devices/pump-1", nil, &d)
		return d.Components[0].Update.Going() && d.Components[0].Masking.State == "stale"
	})
	if !d.Components[0].Masking.Late {
		t.Error("it is not late")
	}
	want(204, "POST", ofGreeter+"/consent", nil, nil)
	want(204, "POST", ofGreeter+"/cancel", nil, nil)
	want(200, "GET", "/api/v1/devices/pump-1/twin", nil, &twin)
	wish, _ = twin.Desired["components"].(doc)[greeter].(doc)
	if wish["consented"] != "u1" || wish["refused"] != "u1" || wish["check"] != "0 */6 * * *" || wish["consent"] != "ask" {
		t.Errorf("%+v", wish)
	}
	outcome := doc{"id": "u1", "kind": "update", "from": "1.0.0", "to": "2.0.0", "result": "updated", "downtime": 1.25, "predicted": 1.5}
	g.report(t, reports(greeter, doc{"version": "2.0.0", "stale": false, "outcome": outcome, "update": outcome, "previous": doc{"version": "1.0.0", "way": "saved state", "note": "what was stored since is lost"}}))
	var past iothub.History
	eventually(t, "the outcome is history", func() bool {
		want(200, "GET", "/api/v1/devices/pump-1/history", nil, &past)
		return len(past.Outcomes) == 1
	})
	if o := past.Outcomes[0]; o.From != "1.0.0" || *o.Downtime != 1.25 || o.Component != greeter {
		t.Errorf("%+v", o)
	}
	want(204, "POST", ofGreeter+"/rollback", nil, nil)
	want(200, "GET", "/api/v1/devices/pump-1/twin", nil, &twin)
	wish, _ = twin.Desired["components"].(doc)[greeter].(doc)
	if wish["version"] != "1.0.0" || wish["state"] != "saved" || wish["attempt"] != 1.0 {
		t.Errorf("%+v", wish)
	}
	g.report(t, doc{"mode": "safe", "fault": "journal", "repaired": 4, "components": doc{greeter: doc{"repaired": 2, "states": doc{"7": doc{"version": "1.0.0", "schema": 1, "bytes": 10}}}}})
	eventually(t, "the fault shows", func() bool {
		want(200, "GET", "/api/v1/devices/pump-1", nil, &d)
		return d.Safe && d.Fault == "journal"
	})
	want(204, "POST", "/api/v1/devices/pump-1/repair", nil, nil)
	want(204, "POST", ofGreeter+"/repair", doc{"state": "7"}, nil)
	want(400, "POST", ofGreeter+"/repair", doc{"state": "8"}, nil)
	want(200, "GET", "/api/v1/devices/pump-1/twin", nil, &twin)
	wish, _ = twin.Desired["components"].(doc)[greeter].(doc)
	if mend, _ := wish["repair"].(doc); mend["number"] != 3.0 || mend["state"] != 7.0 || twin.Desired["repair"] != 5.0 {
		t.Errorf("%+v", twin.Desired)
	}
	want(204, "DELETE", ofGreeter+"?purge=true", nil, nil)
}

// orders are what is said to devices else: twins, methods, several at once; and goodbye.
func orders(t *testing.T, c *caller) {
	want := c.wants(t)
	var twin api.Twin
	want(200, "PATCH", "/api/v1/devices/pump-1/twin", doc{"tags": doc{"site": nil}, "desired": doc{"big": json.Number("4503599627370495")}}, &twin)
	if _, there := twin.Tags["site"]; there {
		t.Errorf("%+v", twin.Tags)
	}
	var answer iothub.MethodAnswer
	want(200, "POST", "/api/v1/devices/pump-1/methods", doc{"name": "read", "payload": doc{"path": "/3/0/9"}}, &answer)
	if answer.Status != 200 || !strings.Contains(string(answer.Payload), `80`) {
		t.Errorf("%+v", answer)
	}
	want(400, "POST", "/api/v1/devices/pump-1/methods", doc{"name": "a/b"}, nil)

	var results api.PushResults
	want(200, "POST", "/api/v1/pushes", doc{"component": greeter, "version": "2.1.0", "query": "pump"}, &results)
	want(200, "POST", "/api/v1/pushes", doc{"component": greeter, "version": "2.1.0", "devices": []string{"pump-1", "nowhere"}, "again": true}, &results)
	if len(results.Results) != 2 || results.Results[0].Error != "" || results.Results[1].Error == "" {
		t.Errorf("%+v", results)
	}
	want(400, "POST", "/api/v1/pushes", doc{"component": greeter, "version": "2.1.0"}, nil)
	var d fleet.Device
	want(200, "PATCH", "/api/v1/devices/pump-1", doc{"enabled": false}, &d)
	if d.Enabled {
		t.Error("it is still let in")
	}
	want(204, "DELETE", "/api/v1/devices/pump-1", nil, nil)
	want(404, "GET", "/api/v1/devices/pump-1", nil, nil)
	want(404, "DELETE", "/api/v1/devices/pump-1", nil, nil)
	want(404, "GET", "/api/v1/nothing", nil, nil)
}

// changes are all in the audit log.
func changes(t *testing.T, c *caller) {
	want := c.wants(t)
	var log api.Changes
	want(200, "GET", "/api/v1/audit?limit=1000", nil, &log)
	for _, action := range []string{"user.create", "token.create", "device.create", "device.keys.read", "device.keys.new", "update.push", "update.schedule", "update.consent", "update.cancel", "update.rollback", "device.repair", "component.repair", "component.remove", "twin.patch", "device.call", "device.disabled", "device.delete"} {
		if !slices.ContainsFunc(log.Entries, func(e audit.Entry) bool { return e.Action == action && e.Who != "" }) {
			t.Errorf("%s is not in the audit log", action)
		}
	}
	var verified api.Verification
	want(200, "GET", "/api/v1/audit/verification", nil, &verified)
	for _, path := range []string{"configurations", "statistics/devices", "statistics/service"} {
		want(200, "GET", "/api/v1/hub/"+path+"?api-version=2021-04-12", nil, nil)
	}
	if verified.Problem != "" || verified.Entries != log.Entries[0].Number || verified.Hash != log.Entries[0].Hash {
		t.Errorf("%+v", verified)
	}
}

// TestETag: of two who change the same twin from the same state, one is told.
func TestETag(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.bearer(t, "admin", r.admin)
	c.call(t, "POST", "/api/v1/devices", doc{"id": "d"}, nil)
	var twin api.Twin
	c.call(t, "GET", "/api/v1/devices/d/twin", nil, &twin)
	for i, want := range []int{200, 412} {
		req, err := http.NewRequestWithContext(t.Context(), "PATCH", r.url+"/api/v1/devices/d/twin", strings.NewReader(`{"desired": {"a": 1}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-Match", `"`+twin.ETag+`"`)
		req.Header.Set("Authorization", "Bearer "+c.token)
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%d: %d", i, res.StatusCode)
		}
	}
}

// TestPackages: packages come and go over the API; what is none, and what is there with other content, is refused.
func TestPackages(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.bearer(t, "admin", r.admin)
	file := build(t, "1.0.0", 1)
	for _, want := range []int{200, 200} { // the same again is no change
		if status, text := c.upload(t, file); status != want {
			t.Error(status, text)
		}
	}
	if status, text := c.upload(t, build(t, "2.0.0", 2)); status != 200 {
		t.Error(status, text)
	}
	if status, text := c.send(t, "POST", "/api/v1/packages", "application/x-tar", strings.NewReader("nonsense")); status != 400 || strings.Contains(text, r.config.Data) {
		t.Error(status, text)
	}
	if status, text := c.upload(t, build(t, "1.0.0", 3)); status != 409 {
		t.Error(status, text)
	}
	alarms := api.Alarms{Alarms: []string{"unread"}}
	if status := c.call(t, "GET", "/api/v1/alarms", nil, &alarms); status != 200 || len(alarms.Alarms) != 0 {
		t.Error(status, alarms)
	}
	var offers api.Offers
	c.call(t, "GET", "/api/v1/packages", nil, &offers)
	if len(offers.Components) != 1 || len(offers.Components[0].Packages) != 2 || offers.Components[0].Packages[0].Manifest.Version != "2.0.0" {
		t.Errorf("%+v", offers)
	}
	for _, want := range []int{204, 404} {
		if status := c.call(t, "DELETE", "/api/v1/packages/"+greeter+"/2.0.0", nil, nil); status != want {
			t.Error(status)
		}
	}
	if entries, err := r.files.Open(t.Context(), "/v2/"+greeter+"/manifests/1.0.0"); err != nil {
		t.Error(err)
	} else {
		entries.Close()
	}
}

// TestEvents: what happens to a device is told over the API, and again from where one has stopped.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.bearer(t, "admin", r.admin)
	follow := func(after string, do func()) (ids []string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"/api/v1/events?device=d", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		req.Header.Set("Last-Event-ID", after)
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		do()
		lines := bufio.NewScanner(res.Body)
		id := ""
		for lines.Scan() && len(ids) < 2 {
			if found, is := strings.CutPrefix(lines.Text(), "id: "); is {
				id = found
			}
			if strings.HasPrefix(lines.Text(), "data: ") {
				ids = append(ids, id)
			}
		}
		return ids
	}
	first := follow("0", func() {
		c.call(t, "POST", "/api/v1/devices", doc{"id": "d"}, nil)
		c.call(t, "PATCH", "/api/v1/devices/d/twin", doc{"tags": doc{"a": 1}}, nil)
	})
	if len(first) != 2 {
		t.Fatal(first)
	}
	again := follow(first[0], func() { c.call(t, "PATCH", "/api/v1/devices/d/twin", doc{"tags": doc{"a": 2}}, nil) })
	if len(again) != 2 || again[0] != first[1] {
		t.Error(first, again)
	}
}

// TestEventsByMQTT: with a token of the API a program hears by MQTT what happens, until the token is taken back; the
// rights of others do not suffice, and no token makes anybody a device.
func TestEventsByMQTT(t *testing.T) {
	t.Parallel()
	r := start(t)
	admin := r.bearer(t, "admin", r.admin)
	token := func(right string) (made struct{ ID, Token string }) {
		admin.wants(t)(200, "POST", "/api/v1/tokens", doc{"name": right, "rights": []string{right}, "hours": 1}, &made)
		return made
	}
	connect := func(user, id, password string) (client mqtt.Client, lost chan error, err error) {
		lost = make(chan error, 1)
		client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("mqtt://" + r.endpoints.Hub.MQTT).SetClientID(id).SetProtocolVersion(4).
			SetUsername(user).SetPassword(password).SetAutoReconnect(false).SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }))
		connected := client.Connect()
		if !connected.WaitTimeout(patience) {
			t.Fatal("no CONNACK")
		}
		return client, lost, connected.Error()
	}
	read := token("read")
	admin.wants(t)(200, "POST", "/api/v1/devices", doc{"id": "d"}, nil)
	for what, c := range map[string][]string{
		"a publisher":               {iothub.EventsUsername, "x", token("publish").Token},
		"a token that is not there": {iothub.EventsUsername, "x", read.Token + "x"},
		"as a device":               {iothub.Username("h", "d"), "d", token("operate").Token},
	} {
		if _, _, err := connect(c[0], c[1], c[2]); err == nil {
			t.Error(what, "is let in")
		}
	}
	client, lost, err := connect(iothub.EventsUsername+"?after=0", "dashboard", read.Token)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 10)
	must(t, client.Subscribe(iothub.EventTopic("+", "", "deviceCreated"), 1, func(_ mqtt.Client, m mqtt.Message) { heard <- m.Topic() }))
	if topic := <-heard; topic != "events/d/deviceCreated" {
		t.Error(topic)
	}
	admin.wants(t)(204, "DELETE", "/api/v1/tokens/"+read.ID, nil, nil)
	select {
	case <-lost:
	case <-time.After(patience):
		t.Error("who may no longer is told on")
	}
}

// TestOpenAPI: the document that is served has each route, with all its parameters and with schemas that are there.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	r := start(t)
	nobody := &caller{running: r, http: r.client()}
	var served struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name, In string }
			Security    []any
			Responses   map[string]any
		}
		Components struct {
			Schemas map[string]struct{ Properties doc }
		}
	}
	if status := nobody.call(t, "GET", "/api/v1/openapi.json", nil, &served); status != 200 || !strings.HasPrefix(served.OpenAPI, "3.1") {
		t.Fatal(status, served.OpenAPI)
	}
	ids := map[string]bool{}
	count := 0
	for _, route := range api.Routes() {
		o, there := served.Paths[api.Base+strings.ReplaceAll(route.Path, "...", "")][strings.ToLower(route.Method)]
		if !there {
			t.Errorf("%s %s is not described", route.Method, route.Path)
		}
		if ids[o.OperationID] || len(o.Responses) < 2 || (route.Right == 0) != (len(o.Security) == 0) {
			t.Errorf("%s %s: %+v", route.Method, route.Path, o)
		}
		ids[o.OperationID] = true
		for _, name := range regexp.MustCompile(`\{([a-z]+)`).FindAllStringSubmatch(route.Path, -1) {
			if !slices.ContainsFunc(o.Parameters, func(p struct{ Name, In string }) bool { return p.Name == name[1] && p.In == "path" }) {
				t.Errorf("%s %s: %s is not described", route.Method, route.Path, name[1])
			}
		}
	}
	for _, path := range served.Paths {
		count += len(path)
	}
	if count != len(api.Routes()) {
		t.Errorf("%d operations are described, there are %d", count, len(api.Routes()))
	}
	text, err := json.Marshal(served.Components)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range regexp.MustCompile(`#/components/schemas/(\w+)`).FindAllStringSubmatch(string(text), -1) {
		if _, there := served.Components.Schemas[ref[1]]; !there {
			t.Errorf("there is no schema %s", ref[1])
		}
	}
	if device := served.Components.Schemas["Device"].Properties; device["components"] == nil || device["since"] == nil {
		t.Errorf("%+v", device)
	}
}

// TestTokenScope: a token does what it is for, until it expires.
func TestTokenScope(t *testing.T) {
	t.Parallel()
	r := start(t)
	admin := r.bearer(t, "admin", r.admin)
	var made struct{ Token string }
	admin.call(t, "POST", "/api/v1/tokens", doc{"name": "reader", "rights": []string{"read"}, "hours": 1}, &made)
	reader := &caller{running: r, http: r.client(), token: made.Token}
	for path, want := range map[string]int{"/api/v1/devices": 200, "/api/v1/users": 403, "/api/v1/audit": 403} {
		if status := reader.call(t, "GET", path, nil, nil); status != want {
			t.Error(path, status)
		}
	}
	var list api.Tokens
	admin.call(t, "GET", "/api/v1/tokens", nil, &list)
	if len(list.Tokens) != 2 || list.Tokens[0].Name != "reader" || time.Until(list.Tokens[0].Expires) > time.Hour {
		t.Fatalf("%+v", list)
	}
	admin.call(t, "DELETE", "/api/v1/tokens/"+list.Tokens[0].ID, nil, nil)
	if status := reader.call(t, "GET", "/api/v1/devices", nil, nil); status != 401 {
		t.Error("a token outlives its end", status)
	}
}

// TestAuditOfOthers: what is changed by a connection string, and with the publisher's token, is in the audit log as
// well, without secrets; what is only read is not.
func TestAuditOfOthers(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.bearer(t, "admin", r.admin)
	cs, err := iothub.ParseConnectionString(r.credentials.Owner)
	if err != nil {
		t.Fatal(err)
	}
	hub := &iothub.Client{ConnectionString: cs, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	d, err := hub.CreateDevice(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.PatchTwin(t.Context(), "d", iothub.TwinPatch{Tags: doc{"site": "zurich"}}, ""); err != nil {
		t.Error(err)
	}
	if _, err := hub.PatchTwin(t.Context(), "d", iothub.TwinPatch{Tags: doc{"site": "bern"}}, "AAAAAAAAAAA="); err == nil {
		t.Error("the etag is not looked at")
	}
	if _, err := hub.Twin(t.Context(), "d"); err != nil {
		t.Error(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "DELETE", "http://"+r.endpoints.Files.HTTP+"/v2/"+greeter+"/manifests/1.0.0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.credentials.Publisher)
	res, err := hub.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	var log api.Changes
	c.call(t, "GET", "/api/v1/audit", nil, &log)
	var got []string
	for _, e := range slices.Backward(log.Entries) {
		failed := ""
		if e.Failed != "" {
			failed = " failed"
		}
		got = append(got, e.Who+" "+e.Action+" "+e.Object+" "+string(e.Detail)+failed)
	}
	want := []string{
		"policy iothubowner hub.put /devices/d ",
		`policy iothubowner hub.patch /twins/d {"tags":{"site":"zurich"}}`,
		`policy iothubowner hub.patch /twins/d {"tags":{"site":"bern"}}`,
		"policy iothubowner hub.patch /twins/d  failed",
		"publisher package.withdraw application/greeter:1.0.0 ",
		"publisher package.withdraw application/greeter:1.0.0  failed",
	}
	if len(got) != 2+len(want) || !slices.Equal(got[2:], want) {
		t.Errorf("the audit log has %q", got)
	}
	if text, err := json.Marshal(log); err != nil || strings.Contains(string(text), d.Authentication.SymmetricKey.PrimaryKey) {
		t.Error("it has a key", err)
	}
}

// TestWebhooks: an application's server is told over the API what it asks for, until it asks no more.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.bearer(t, "admin", r.admin)
	told := make(chan iothub.Event, 10)
	var made api.WebhookSecret
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var event iothub.Event
		if err := errors.Join(err, iothub.VerifyWebhook(r.Header, made.Secret, body, time.Now()), json.Unmarshal(body, &event)); err != nil {
			t.Error(err)
		}
		told <- event
	}))
	t.Cleanup(server.Close)
	want := c.wants(t)
	want(200, "POST", "/api/v1/webhooks", doc{"url": server.URL, "types": []string{"twinChanged"}}, &made)
	want(400, "POST", "/api/v1/webhooks", doc{"url": "http://example.org"}, nil)
	want(200, "POST", "/api/v1/devices", doc{"id": "d", "tags": doc{"site": "zurich"}}, nil)
	select {
	case event := <-told:
		if event.Device != "d" || event.Type != "twinChanged" {
			t.Errorf("%+v", event)
		}
	case <-time.After(patience):
		t.Fatal("nothing is told")
	}
	var hooks api.Webhooks
	want(200, "GET", "/api/v1/webhooks", nil, &hooks)
	var dead api.DeadLetters
	want(200, "GET", "/api/v1/webhooks/"+made.ID+"/deadletters", nil, &dead)
	if len(hooks.Webhooks) != 1 || len(dead.DeadLetters) != 0 {
		t.Errorf("%+v %+v", hooks, dead)
	}
	want(204, "DELETE", "/api/v1/webhooks/"+made.ID, nil, nil)
	want(404, "DELETE", "/api/v1/webhooks/"+made.ID, nil, nil)
}

// TestHubForPeople: tools for Azure's interface work with the token of somebody, by his rights and in his name; only who
// may operate sees keys.
func TestHubForPeople(t *testing.T) {
	t.Parallel()
	r := start(t)
	admin := r.bearer(t, "admin", r.admin)
	passwords := r.people(t, admin)
	as := func(role accounts.Role) *iothub.Client {
		c := r.bearer(t, "a-"+string(role), passwords[role])
		return &iothub.Client{URL: r.url + "/api/v1/hub", Token: c.token, HTTP: c.http}
	}
	operator, viewer := as(accounts.Operator), as(accounts.Viewer)
	if d, err := operator.CreateDevice(t.Context(), "a#b"); err != nil || d.DeviceID != "a#b" {
		t.Fatal(d, err)
	}
	for client, sees := range map[*iothub.Client]bool{operator: true, viewer: false} {
		d, err := client.Device(t.Context(), "a#b")
		if err != nil || (d.Authentication.SymmetricKey.PrimaryKey != "") != sees {
			t.Error(d, err)
		}
		if all, err := client.Devices(t.Context()); err != nil || len(all) != 1 || all[0].Authentication.SymmetricKey.PrimaryKey != "" {
			t.Error(all, err)
		}
		if _, err := client.Twin(t.Context(), "a#b"); err != nil {
			t.Error(err)
		}
	}
	patch := iothub.TwinPatch{Desired: doc{"x": 1}}
	if _, err := viewer.PatchTwin(t.Context(), "a#b", patch, ""); err == nil {
		t.Error("who may look changes a twin")
	}
	if _, err := operator.PatchTwin(t.Context(), "a#b", patch, ""); err != nil {
		t.Error(err)
	}
	var log api.Changes
	admin.call(t, "GET", "/api/v1/audit?limit=3", nil, &log)
	var got []string
	for _, e := range log.Entries {
		got = append(got, e.Who+" "+e.Action+" "+e.Object)
	}
	slices.Sort(got)
	if want := []string{"a-operator device.keys.read a#b", "a-operator hub.patch /twins/a#b", "a-operator hub.put /devices/a#b"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
