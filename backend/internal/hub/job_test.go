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

// job waits until a job has a status, and answers it.
func (r *running) job(t *testing.T, id, want string) (job map[string]any) {
	t.Helper()
	eventually(t, "job "+id+" is "+want, func() bool {
		status, body := r.rest(t, hub.PolicyService, "GET", "/jobs/v2/"+id+"?api-version=2021-04-12", "", "")
		job = nil
		if err := json.Unmarshal([]byte(body), &job); err != nil || status != 200 {
			t.Fatal(status, body, err)
		}
		return job["status"] == want
	})
	return job
}

func (r *running) schedule(t *testing.T, id, body string) {
	t.Helper()
	if status, answer := r.rest(t, hub.PolicyService, "PUT", "/jobs/v2/"+id+"?api-version=2021-04-12", "", body); status != 200 || !strings.Contains(answer, `"jobId":"`+id+`"`) {
		t.Fatal(status, answer)
	}
}

func counts(devices, failed, succeeded float64) map[string]any {
	return map[string]any{"deviceCount": devices, "failedCount": failed, "succeededCount": succeeded, "runningCount": 0.0, "pendingCount": 0.0}
}

// TestJobs changes many twins, and calls a method of many devices.
func TestJobs(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	for i := range 25 {
		h.create(t, fmt.Sprintf("dev%02d", i))
	}
	h.schedule(t, "twins", `{"jobId":"twins","type":"scheduleUpdateTwin","queryCondition":"deviceId < 'dev20'","updateTwin":{"etag":"*","tags":{"a":1},"properties":{"desired":{"b":2}}},"maxExecutionTimeInSeconds":60}`)
	job := h.job(t, "twins", "completed")
	if diff := cmp.Diff(counts(20, 0, 20), job["deviceJobStatistics"]); diff != "" || job["endTime"] == nil || job["node"] != nil {
		t.Error(diff, job)
	}
	if rows, _, _ := h.ask(t, "SELECT * FROM devices WHERE tags.a = 1 AND properties.desired.b = 2", 100); len(rows) != 20 {
		t.Error(len(rows))
	}
	d := h.mustConnect(t, connection{id: "dev00"})
	d.subscribe(t, iothub.TopicMethods)
	h.schedule(t, "methods", `{"type":"scheduleDeviceMethod","queryCondition":"deviceId IN ['dev00','dev24']","cloudToDeviceMethod":{"methodName":"blink","payload":{"n":1},"responseTimeoutInSeconds":30}}`)
	name, rid, payload := d.method(t)
	d.answer(t, 200, rid, `{"ok":true}`)
	if job = h.job(t, "methods", "completed"); name != "blink" || payload != `{"n":1}` {
		t.Error(name, payload)
	}
	if diff := cmp.Diff(counts(2, 1, 1), job["deviceJobStatistics"]); diff != "" {
		t.Error(diff)
	}
	rows, _, kind := h.ask(t, "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'methods'", 100)
	if len(rows) != 2 || kind != "DeviceJob" {
		t.Fatal(rows, kind)
	}
	if got := fmt.Sprint(rows[0]["deviceId"], rows[0]["status"], rows[0]["outcome"]); got != "dev00completedmap[deviceMethodResponse:map[payload:map[ok:true] status:200]]" {
		t.Error(got)
	}
	if got := fmt.Sprint(rows[1]["deviceId"], rows[1]["status"], rows[1]["error"]); got != "dev24failedmap[code:DeviceNotOnline description:Timed out waiting for device to connect.]" {
		t.Error(got)
	}
	later := time.Now().Add(time.Hour).Format(time.RFC3339)
	h.schedule(t, "later", `{"type":"scheduleUpdateTwin","startTime":"`+later+`","updateTwin":{"tags":{"c":1}}}`)
	h.job(t, "later", "scheduled")
	if status, body := h.rest(t, hub.PolicyService, "POST", "/jobs/v2/later/cancel", "", ""); status != 200 || !strings.Contains(body, `"status":"cancelled"`) {
		t.Error(status, body)
	}
	headers := map[string]string{"x-ms-max-item-count": "2"}
	var ids []string
	for {
		status, body, header := h.exchange(t, hub.PolicyService, "GET", "/jobs/v2/query?api-version=1", headers, "")
		var jobs []struct{ JobID string }
		if err := json.Unmarshal([]byte(body), &jobs); err != nil || status != 200 || header.Get("x-ms-item-type") != "JobResponse" {
			t.Fatal(status, body, err)
		}
		for _, j := range jobs {
			ids = append(ids, j.JobID)
		}
		if headers["x-ms-continuation"] = header.Get("x-ms-continuation"); headers["x-ms-continuation"] == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"later", "methods", "twins"}, ids); diff != "" {
		t.Error(diff)
	}
	if status, body := h.rest(t, hub.PolicyService, "GET", "/jobs/v2/query?jobType=scheduleUpdateTwin&jobStatus=completed", "", ""); status != 200 || strings.Count(body, "jobId") != 1 {
		t.Error(status, body)
	}
}

// TestJobsSurvive: a job that was to begin is done by the hub that starts anew; a method whose hub has ended is not
// called again.
func TestJobsSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := start(t, dir)
	for _, id := range []string{"a", "b"} {
		h.create(t, id)
	}
	soon := time.Now().Add(2 * time.Second).Format(time.RFC3339Nano)
	h.schedule(t, "soon", `{"type":"scheduleUpdateTwin","startTime":"`+soon+`","updateTwin":{"tags":{"c":1}}}`)
	d := h.mustConnect(t, connection{id: "a"})
	d.subscribe(t, iothub.TopicMethods)
	h.schedule(t, "methods", `{"type":"scheduleDeviceMethod","queryCondition":"deviceId = 'a'","cloudToDeviceMethod":{"methodName":"once","responseTimeoutInSeconds":300}}`)
	d.method(t)
	h.stop()
	h = start(t, dir)
	d = h.mustConnect(t, connection{id: "a"})
	d.subscribe(t, iothub.TopicMethods)
	job := h.job(t, "methods", "completed")
	if diff := cmp.Diff(counts(1, 1, 0), job["deviceJobStatistics"]); diff != "" {
		t.Error(diff)
	}
	if rows, _, _ := h.ask(t, "SELECT error.description AS why FROM devices.jobs WHERE jobId = 'methods'", 9); len(rows) != 1 || !strings.Contains(fmt.Sprint(rows), "may have done it") {
		t.Error(rows)
	}
	if job := h.job(t, "soon", "completed"); fmt.Sprint(job["deviceJobStatistics"]) != fmt.Sprint(counts(2, 0, 2)) {
		t.Error(job)
	}
	if len(d.messages) != 0 {
		t.Error("the method is called again")
	}
}

// TestJobsEndInTime: when the time of a job is over, it begins with no further device; one that is cancelled neither.
func TestJobsEndInTime(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	var devices []*device
	for i := range 12 { // more than are asked at once
		id := fmt.Sprintf("dev%02d", i)
		h.create(t, id)
		d := h.mustConnect(t, connection{id: id})
		d.subscribe(t, iothub.TopicMethods)
		devices = append(devices, d)
	}
	const method = `,"cloudToDeviceMethod":{"methodName":"slow","responseTimeoutInSeconds":300}}`
	h.schedule(t, "short", `{"type":"scheduleDeviceMethod","maxExecutionTimeInSeconds":2`+method)
	job := h.job(t, "short", "completed")
	if diff := cmp.Diff(counts(12, 12, 0), job["deviceJobStatistics"]); diff != "" {
		t.Error(diff)
	}
	called := 0
	for _, d := range devices {
		called += len(d.messages)
	}
	if called != 10 {
		t.Errorf("%d devices were called, want 10", called)
	}
	for _, bad := range []string{
		`{`, `{}`, `{"type":"scheduleUpdateTwin"}`, `{"type":"scheduleUpdateTwin","updateTwin":{"tags":1}}`, `{"jobId":"other","type":"scheduleUpdateTwin","updateTwin":{}}`,
		`{"type":"scheduleDeviceMethod","cloudToDeviceMethod":{"methodName":"a/b"}}`, `{"type":"export"}`,
		`{"type":"scheduleUpdateTwin","updateTwin":{},"queryCondition":"a ="}`, `{"type":"scheduleUpdateTwin","updateTwin":{},"maxExecutionTimeInSeconds":-1}`,
		`{"type":"scheduleUpdateTwin","updateTwin":{},"startTime":"2099-01-01T00:00:00Z"}`,
	} {
		if status, body := h.rest(t, hub.PolicyService, "PUT", "/jobs/v2/bad", "", bad); status != 400 {
			t.Error(bad, status, body)
		}
	}
	for path, code := range map[string]string{"GET /jobs/v2/none": "JobNotFound", "POST /jobs/v2/none/cancel": "JobNotFound", "PUT /jobs/v2/short": "JobAlreadyExists"} {
		verb, path, _ := strings.Cut(path, " ")
		if status, body := h.rest(t, hub.PolicyService, verb, path, "", `{"type":"scheduleUpdateTwin","updateTwin":{}}`); status/100 != 4 || !strings.Contains(body, "ErrorCode:"+code+";") {
			t.Error(verb, path, status, body)
		}
	}
}
