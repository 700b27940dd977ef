package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// rest sends a raw request with a policy's token.
func (r *running) rest(t *testing.T, policy, method, path, ifMatch, body string) (int, string) {
	t.Helper()
	headers := map[string]string{}
	if ifMatch != "" {
		headers["If-Match"] = ifMatch
	}
	return r.restWith(t, policy, method, path, headers, body)
}

func (r *running) restWith(t *testing.T, policy, method, path string, headers map[string]string, body string) (int, string) {
	t.Helper()
	status, text, _ := r.exchange(t, policy, method, path, headers, body)
	return status, text
}

func (r *running) exchange(t *testing.T, policy, method, path string, headers map[string]string, body string) (int, string, http.Header) {
	t.Helper()
	cs, err := r.ConnectionString(policy)
	if err != nil {
		t.Fatal(err)
	}
	cs.HostName = r.HTTPAddr()
	req, err := http.NewRequestWithContext(t.Context(), method, cs.HTTPURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", sign(t, "127.0.0.1", cs.Key, policy, time.Minute))
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	client := http.DefaultClient
	if r.owner.HTTP != nil {
		client = r.owner.HTTP
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

// follow answers the events of a device or a module, from the first on, until the test ends.
func (r *running) follow(t *testing.T, device, module string) <-chan iothub.Event {
	t.Helper()
	events := make(chan iothub.Event)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for event, err := range r.owner.Events(ctx, strings.TrimSuffix(device+"/"+module, "/"), "0") {
			if err != nil {
				return
			}
			select {
			case events <- event:
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return events
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	const a = "/devices/dev1?api-version=2021-04-12"
	key := "AAAAAAAAAAAAAAAAAAAAAA=="
	for _, test := range []struct {
		name, method, path, ifMatch, body string
		status                            int
		contains                          string
	}{
		{"create", "PUT", a, "", `{"deviceId":"dev1","authentication":{"symmetricKey":{"primaryKey":"` + key + `","secondaryKey":""}}}`, 200, key},
		{"create again", "PUT", a, "", `{}`, 409, `"Message":"ErrorCode:DeviceAlreadyExists;`},
		{"read", "GET", a, "", "", 200, `"status":"enabled"`},
		{"awkward id", "PUT", "/devices/a%23b$c%25d", "", `{"deviceId":"a#b$c%d"}`, 200, `"deviceId":"a#b$c%d"`},
		{"list", "GET", "/devices/?api-version=1", "", "", 200, `"deviceId":"a#b$c%d"`},
		{"bad id", "PUT", "/devices/a%20b", "", `{}`, 400, "ErrorCode:ArgumentInvalid;"},
		{"other id", "PUT", "/devices/x", "", `{"deviceId":"y"}`, 400, "ErrorCode:ArgumentInvalid;"},
		{"short key", "PUT", "/devices/x", "", `{"authentication":{"symmetricKey":{"primaryKey":"AAAA"}}}`, 400, "ErrorCode:ArgumentInvalid;"},
		{"unknown proof", "PUT", "/devices/x", "", `{"authentication":{"type":"password"}}`, 400, "ErrorCode:ArgumentInvalid;"},
		{"short thumbprint", "PUT", "/devices/x", "", `{"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"abcd"}}}`, 400, "ErrorCode:ArgumentInvalid;"},
		{"no JSON", "PUT", "/devices/x", "", `{`, 400, "ErrorCode:DeserializationError;"},
		{"large", "PUT", "/devices/x", "", `{"a":"` + strings.Repeat("x", 600<<10) + `"}`, 413, "ErrorCode:RequestEntityTooLarge;"},
		{"disable", "PUT", a, `"*"`, `{"status":"disabled"}`, 200, `"status":"disabled"`},
		{"old etag", "PUT", a, `"MQ=="`, `{"status":"enabled"}`, 412, "ErrorCode:PreconditionFailed;"},
		{"count", "GET", "/statistics/devices", "", "", 200, `{"totalDeviceCount":2,"enabledDeviceCount":1,"disabledDeviceCount":1}`},
		{"connections", "GET", "/statistics/service", "", "", 200, `{"connectedDeviceCount":0}`},
		{"delete", "DELETE", a, `"*"`, "", 204, ""},
		{"delete again", "DELETE", a, `"*"`, "", 404, "ErrorCode:DeviceNotFound;"},
		{"read deleted", "GET", a, "", "", 404, "ErrorCode:DeviceNotFound;"},
		{"twin of deleted", "GET", "/twins/dev1", "", "", 404, "ErrorCode:DeviceNotFound;"},
	} {
		status, body := h.rest(t, hub.PolicyOwner, test.method, test.path, test.ifMatch, test.body)
		if status != test.status || !strings.Contains(body, test.contains) {
			t.Errorf("%s: %d %.300s", test.name, status, body)
		}
	}
}

func TestTwinOfService(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	const path = "/twins/dev1"
	status, body := h.rest(t, hub.PolicyService, "PATCH", path, `"*"`, `{"tags":{"s":1},"properties":{"desired":{"a":{"b":1,"c":2}}}}`)
	if status != 200 || !strings.Contains(body, `"etag":"AAAAAAAAAAI="`) || !strings.Contains(body, `"$lastUpdatedVersion":2`) {
		t.Fatal(status, body)
	}
	if status, body = h.rest(t, hub.PolicyService, "PATCH", path, `"AAAAAAAAAAE="`, `{"tags":{"s":2}}`); status != 412 {
		t.Error(status, body)
	}
	status, _ = h.rest(t, hub.PolicyService, "PUT", path, `"AAAAAAAAAAI="`, `{"properties":{"desired":{"a":{"c":3},"$version":9}}}`)
	if status != 200 {
		t.Error(status)
	}
	twin, err := h.owner.Twin(t.Context(), "dev1")
	if err != nil {
		t.Fatal(err)
	}
	delete(twin.Properties.Desired, "$metadata")
	want := iothub.Section{"a": map[string]any{"c": 3.0}, "$version": 3.0}
	if diff := cmp.Diff(want, twin.Properties.Desired); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"s": 1.0}, twin.Tags); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`{"tags":1}`, `{"properties":[]}`, `{"properties":{"desired":{"a.b":1}}}`, `[]`, ``} {
		if status, body := h.rest(t, hub.PolicyService, "PATCH", path, "", bad); status != 400 {
			t.Error(bad, status, body)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	for _, test := range []struct {
		policy, method, path string
		status               int
	}{
		{hub.PolicyService, "GET", "/twins/dev1", 200},
		{hub.PolicyService, "GET", "/devices/dev1", 401},
		{hub.PolicyRegistryRead, "GET", "/devices/dev1", 200},
		{hub.PolicyRegistryRead, "DELETE", "/devices/dev1", 401},
		{hub.PolicyRegistryRead, "GET", "/twins/dev1", 401},
		{hub.PolicyDevice, "GET", "/twins/dev1", 401},
		{hub.PolicyDevice, "GET", "/api/v1/events", 401},
		{hub.PolicyRegistryReadWrite, "DELETE", "/devices/dev1", 204},
	} {
		status, body := h.rest(t, test.policy, test.method, test.path, "", "")
		if status != test.status {
			t.Errorf("%s: %s %s: %d", test.policy, test.method, test.path, status)
		}
		if test.policy == hub.PolicyRegistryRead && status == 200 && !strings.Contains(body, `"primaryKey":""`) {
			t.Errorf("a reader sees keys: %s", body)
		}
	}
	res, err := http.Get("http://" + h.HTTPAddr() + "/devices/dev1")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 401 {
		t.Error("without a token:", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
}

// take reads n events, while it does something that may cause them.
func take(t *testing.T, c *iothub.Client, device, after string, n int, cause func()) []iothub.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(cause)
	defer wg.Wait()
	var got []iothub.Event
	for event, err := range c.Events(ctx, device, after) {
		if err != nil {
			t.Fatalf("after %+v: %v", got, err)
		}
		if got = append(got, event); len(got) == n {
			break
		}
	}
	return got
}

func TestEventsAreInOrderAndResume(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	h.create(t, "dev2")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicTwinResponses)
	d.publish(t, iothub.TopicReported+"1", 1, `{"a":1}`)
	d.publish(t, iothub.TopicTelemetry("dev1")+"k=v%20w&$.ct=text", 1, "hello")
	if _, err := h.owner.PatchTwin(t.Context(), "dev1", iothub.TwinPatch{Desired: map[string]any{"b": nil}}, ""); err != nil {
		t.Fatal(err)
	}
	d.Disconnect(0)
	service := h.client(t, hub.PolicyService)
	all := take(t, service, "dev1", "0", 6, func() {})
	var kinds []string
	for _, e := range all {
		body := string(e.Body)
		if e.Type == iothub.EventTelemetry {
			var message iothub.Telemetry
			if err := json.Unmarshal(e.Body, &message); err != nil {
				t.Fatal(err)
			}
			body = fmt.Sprint(message.Properties, message.SystemProperties["content-type"], string(message.Payload))
		}
		kinds = append(kinds, e.Type+" "+body)
	}
	want := []string{
		`deviceCreated `, `deviceConnected `,
		`twinChanged {"version":2,"properties":{"reported":{"$version":2,"a":1}}}`,
		`telemetry map[k:v w]texthello`,
		`twinChanged {"version":3,"properties":{"desired":{"$version":2,"b":null}}}`,
		`deviceDisconnected `,
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	for i := range all {
		rest := take(t, service, "dev1", all[i].ID, len(all)-i, func() {
			if _, err := h.owner.PatchTwin(t.Context(), "dev1", iothub.TwinPatch{Tags: map[string]any{"x": i}}, ""); err != nil {
				t.Error(err)
			}
		})
		if i < len(all)-1 && rest[0].ID != all[i+1].ID {
			t.Errorf("after %s comes %s", all[i].ID, rest[0].ID)
		}
	}
}

func TestEventStreamRefusesForeignID(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	for _, err := range h.owner.Events(t.Context(), "", "abc") {
		if e, ok := errors.AsType[*iothub.Error](err); !ok || e.Status != 400 {
			t.Error(err)
		}
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := start(t, dir)
	device := h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.publish(t, iothub.TopicReported+"1", 1, `{"a":1}`)
	before, err := h.owner.Twin(t.Context(), "dev1")
	if err != nil || before.ConnectionState != "Connected" {
		t.Fatal(before, err)
	}
	policy := h.owner.ConnectionString.Key
	h.stop()
	d.expectLost(t)

	h = start(t, dir)
	after, err := h.owner.Twin(t.Context(), "dev1")
	if err != nil {
		t.Fatal(err)
	}
	if after.ConnectionState != "Disconnected" {
		t.Error("the device is still connected")
	}
	if diff := cmp.Diff(before.Properties, after.Properties); diff != "" {
		t.Error(diff)
	}
	again, err := h.owner.Device(t.Context(), "dev1")
	if err != nil || again.Authentication != device.Authentication {
		t.Error("the device has other keys", err)
	}
	if h.owner.ConnectionString.Key != policy {
		t.Error("the policies have other keys")
	}
	events := take(t, h.owner, "dev1", "0", 4, func() {})
	if last := events[3].Type; last != iothub.EventDeviceDisconnected {
		t.Error(last)
	}
}

func TestPlaintextStaysOnLoopback(t *testing.T) {
	t.Parallel()
	cfg := hub.Config{MQTT: "0.0.0.0:0", HTTP: "127.0.0.1:0"}
	if _, err := hub.New(cfg, openStore(t, t.TempDir())); err == nil {
		t.Error("plaintext on all addresses without the option")
	}
}
