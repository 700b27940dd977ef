package main

import (
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	invitation "github.com/tranquil-iot/tranquil/sdk/enrol"
)

// An operator presses a button, and hands the device what it needs; whoever has no
// invitation gets nothing.
func TestInvite(t *testing.T) {
	t.Parallel()
	r := startAt(t, config{
		Hub: hubConfig{MQTT: "127.0.0.1:0", HTTP: "127.0.0.1:0"}, Files: filesConfig{HTTP: "127.0.0.1:0", CoAP: "coaps://127.0.0.1:0"}, Web: webConfig{HTTPS: "127.0.0.1:0"},
		Enrol: enrolConfig{Server: "coaps://bridge.example.org:5684"},
	})
	browser := r.browser(t, "admin", r.admin)
	if status, _ := browser.post(t, "/devices/pump-1/invitation", url.Values{"csrf": {browser.csrf}}); status != 404 {
		t.Errorf("a device that is not there is invited: %d", status)
	}
	browser.post(t, "/devices", url.Values{"csrf": {browser.csrf}, "device": {"pump-1"}})
	status, page := browser.post(t, "/devices/pump-1/invitation", url.Values{"csrf": {browser.csrf}})
	found := regexp.MustCompile(`value="tranquil-agent enrol (https://[^"]+)"`).FindStringSubmatch(page)
	if status != 200 || found == nil {
		t.Fatalf("%d:\n%s", status, page)
	}
	i, err := invitation.Parse(found[1])
	if err != nil || "https://"+i.Host != r.url || len(i.Authority) != 32 {
		t.Fatalf("%s: %+v, %v", found[1], i, err)
	}
	for host, want := range map[string]int{"evil.example.org": 400, "192.0.2.77:9443": 400, "localhost:9443": 200, "[::1]": 200} {
		admin := r.bearer(t, "admin", r.admin)
		req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/api/v1/devices/pump-1/invitation", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Authorization", "Bearer "+admin.token)
		res, err := admin.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("reached as %s: %d", host, res.StatusCode)
		}
	}
	device := &caller{running: r, http: r.client()}
	wants := device.wants(t)
	var grant invitation.Grant
	wants(200, "POST", invitation.Path, invitation.Request{Token: i.Token, Claim: "a device's own secret"}, &grant)
	if err := grant.Check(); err != nil || grant.Device != "pump-1" || grant.Server != "coaps://bridge.example.org:5684" || grant.Files != r.endpoints.Files.CoAP || grant.Root != nil {
		t.Errorf("%+v, %v", grant, err)
	}
	wants(401, "POST", invitation.Path, invitation.Request{Token: i.Token, Claim: "another device's secret"}, nil)
	wants(401, "POST", invitation.Path, invitation.Request{Token: "guessed", Claim: "a device's own secret"}, nil)
	wants(401, "POST", "/api/v1/devices/pump-1/invitation", nil, nil)
}

// Where a device finds a server follows from where it has reached the backend.
func TestPlace(t *testing.T) {
	got := map[string]string{}
	want := map[string]string{
		"coaps://0.0.0.0:5684": "coaps://hub.example.org:5684", "coaps://[::]:5684": "coaps://hub.example.org:5684", "coaps://:5684": "coaps://hub.example.org:5684",
		"coaps://10.0.0.1:5684": "coaps://10.0.0.1:5684", "127.0.0.1:5683": "coap://127.0.0.1:5683", "[::1]:1": "coap://[::1]:1", "": "",
	}
	for listens := range want {
		got[listens] = place("coap", listens, "hub.example.org")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
