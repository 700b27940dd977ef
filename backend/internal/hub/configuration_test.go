package hub_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

func (r *running) configure(t *testing.T, id, ifMatch, body string, want int) string {
	t.Helper()
	status, answer := r.rest(t, hub.PolicyOwner, "PUT", "/configurations/"+id+"?api-version=2021-04-12", ifMatch, body)
	if status != want {
		t.Fatal(id, status, answer)
	}
	return answer
}

// configured waits until a device's desired properties and its configurations are as wanted.
func (r *running) configured(t *testing.T, id, desired, configurations string) {
	t.Helper()
	var got string
	wanted := desired + " " + configurations
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		_, body := r.rest(t, hub.PolicyService, "GET", "/twins/"+id, "", "")
		var twin struct {
			Properties     struct{ Desired map[string]any }
			Configurations json.RawMessage
		}
		if err := json.Unmarshal([]byte(body), &twin); err != nil {
			t.Fatal(body, err)
		}
		delete(twin.Properties.Desired, "$metadata")
		delete(twin.Properties.Desired, "$version")
		have, _ := json.Marshal(twin.Properties.Desired)
		if got = string(have) + " " + string(twin.Configurations); got == wanted {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal(cmp.Diff(wanted, got))
}

// TestConfigurations sets properties of all devices that fulfil a condition; what wins is told by priority, and what is
// no longer wanted is taken back.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	for _, id := range []string{"a", "b"} {
		h.create(t, id)
	}
	tag := func(id, site string) {
		t.Helper()
		if _, err := h.owner.PatchTwin(t.Context(), id, iothub.TwinPatch{Tags: map[string]any{"site": site}}, ""); err != nil {
			t.Fatal(err)
		}
	}
	tag("a", "north")
	h.configure(t, "base", "", `{"id":"base","targetCondition":"*","priority":1,"content":{"deviceContent":{"properties.desired.fan":{"speed":1,"mode":"auto"},"properties.desired.x":1}}}`, 200)
	h.configured(t, "a", `{"fan":{"mode":"auto","speed":1},"x":1}`, `{"base":{"status":"Applied"}}`)
	h.configured(t, "b", `{"fan":{"mode":"auto","speed":1},"x":1}`, `{"base":{"status":"Applied"}}`)
	h.configure(t, "north", "", `{"targetCondition":"tags.site = 'north'","priority":5,"content":{"deviceContent":{"properties.desired.fan":{"speed":9},"properties.desired.x":2}},
		"metrics":{"queries":{"fast":"SELECT deviceId FROM devices WHERE properties.desired.fan.speed > 5"}},"labels":{"why":"test"}}`, 200)
	h.configured(t, "a", `{"fan":{"speed":9},"x":2}`, `{"base":{"status":"Targeted"},"north":{"status":"Applied"}}`)
	tag("b", "north")
	h.configured(t, "b", `{"fan":{"speed":9},"x":2}`, `{"base":{"status":"Targeted"},"north":{"status":"Applied"}}`)
	_, body := h.rest(t, hub.PolicyRegistryRead, "GET", "/configurations/north", "", "")
	var c struct {
		ETag          string
		SystemMetrics struct{ Results map[string]int }
		Metrics       struct{ Results map[string]int }
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.SystemMetrics.Results, c.Metrics.Results); got != "map[appliedCount:2 targetedCount:2] map[fast:2]" {
		t.Error(got)
	}
	tag("a", "south") // leaves the condition
	h.configured(t, "a", `{"fan":{"mode":"auto","speed":1},"x":1}`, `{"base":{"status":"Applied"}}`)
	if _, err := h.owner.PatchTwin(t.Context(), "a", iothub.TwinPatch{Desired: map[string]any{"x": 7, "own": true}}, ""); err != nil {
		t.Fatal(err)
	}
	h.configured(t, "a", `{"fan":{"mode":"auto","speed":1},"own":true,"x":1}`, `{"base":{"status":"Applied"}}`)
	h.configure(t, "north", `"old"`, `{"targetCondition":"*","priority":5}`, 412)
	h.configure(t, "north", `"`+c.ETag+`"`, `{"targetCondition":"tags.site = 'south'","priority":5}`, 200) // what it sets stays
	h.configured(t, "a", `{"fan":{"speed":9},"own":true,"x":2}`, `{"base":{"status":"Targeted"},"north":{"status":"Applied"}}`)
	h.configured(t, "b", `{"fan":{"mode":"auto","speed":1},"x":1}`, `{"base":{"status":"Applied"}}`)
	for _, id := range []string{"north", "base"} {
		if status, body := h.rest(t, hub.PolicyOwner, "DELETE", "/configurations/"+id, `"*"`, ""); status != 204 {
			t.Error(status, body)
		}
	}
	h.configured(t, "a", `{"own":true}`, `{}`)
	h.configured(t, "b", `{}`, `{}`)
	h.configure(t, "inner", "", `{"targetCondition":"deviceId = 'a'","content":{"deviceContent":{"properties.desired.p.q":1,"properties.desired.p.r":{"s":null,"t":2}}}}`, 200)
	h.configured(t, "a", `{"own":true,"p":{"q":1,"r":{"t":2}}}`, `{"inner":{"status":"Applied"}}`)
	status, body := h.rest(t, hub.PolicyOwner, "POST", "/devices/b/applyConfigurationContent", "", `{"deviceContent":{"properties.desired.once":1}}`)
	if status != 204 {
		t.Error(status, body)
	}
	h.configured(t, "b", `{"once":1}`, `{}`)
	if status, body := h.rest(t, hub.PolicyRegistryRead, "GET", "/configurations?top=5", "", ""); status != 200 || strings.Count(body, `"schemaVersion":"1.0"`) != 1 {
		t.Error(status, body)
	}
}

func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.configure(t, "there", "", `{"targetCondition":"*"}`, 200)
	h.configure(t, "there", "", `{"targetCondition":"*"}`, 409)
	h.configure(t, "none", `"*"`, `{"targetCondition":"*"}`, 404)
	for _, bad := range []string{
		`{`, `{"targetCondition":"tags."}`, `{"targetCondition":"*","id":"other"}`, `{"targetCondition":"*","priority":-1}`,
		`{"targetCondition":"*","content":{"deviceContent":{"properties.reported.x":1}}}`, `{"targetCondition":"*","content":{"deviceContent":{"properties.desired.":1}}}`,
		`{"targetCondition":"*","content":{"deviceContent":{"properties.desired.a":{},"properties.desired.a.b":1}}}`,
		`{"targetCondition":"*","content":{"modulesContent":{"m":{}}}}`, `{"targetCondition":"*","metrics":{"queries":{"q":"SELECT"}}}`,
		`{"targetCondition":"*","content":{"deviceContent":{"properties.desired.$x":1}}}`,
	} {
		h.configure(t, "bad", "", bad, 400)
	}
	h.configure(t, "Capital", "", `{"targetCondition":"*"}`, 400)
	status, body := h.rest(t, hub.PolicyOwner, "POST", "/configurations/testQueries", "", `{"targetCondition":"a b","customMetricQueries":{"good":"SELECT * FROM devices","bad":"SELECT"}}`)
	if status != 200 || strings.Count(body, "position") != 2 || strings.Contains(body, `"good"`) {
		t.Error(status, body)
	}
	for _, policy := range []string{hub.PolicyService, hub.PolicyRegistryReadWrite} {
		if status, _ := h.rest(t, policy, "PUT", "/configurations/x", "", `{"targetCondition":"*"}`); status != 401 {
			t.Error(policy, status)
		}
	}
}
