package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/query"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Types and states of jobs, Azure's.
const (
	jobTwin   = "scheduleUpdateTwin"
	jobMethod = "scheduleDeviceMethod"

	jobScheduled = "scheduled"
	jobRunning   = "running"
	jobCompleted = "completed"
	jobFailed    = "failed"
	jobCancelled = "cancelled"
	jobPending   = "pending" // of one device
)

// Bounds of jobs.
const (
	maxJobLife     = 48 * time.Hour
	maxJobDelay    = 30 * 24 * time.Hour
	usualJobLife   = 3600 // seconds
	jobParallelism = 10   // devices at once
)

// job does one thing with many devices, in Azure's form. It is run by one hub, and by another if that one dies.
type job struct {
	ID         string          `json:"jobId"`
	Type       string          `json:"type"`
	Condition  string          `json:"queryCondition"`
	Created    time.Time       `json:"createdTime"`
	Start      time.Time       `json:"startTime"`
	End        *time.Time      `json:"endTime,omitempty"`
	MaxSeconds int             `json:"maxExecutionTimeInSeconds"`
	Status     string          `json:"status"`
	Reason     string          `json:"failureReason,omitempty"`
	Method     *method         `json:"cloudToDeviceMethod,omitempty"`
	Twin       json.RawMessage `json:"updateTwin,omitempty"`
	Statistics jobStatistics   `json:"deviceJobStatistics"`
	Node       string          `json:"node,omitempty"` // that runs it; not Azure's
}

type jobStatistics struct {
	Devices   int `json:"deviceCount"`
	Failed    int `json:"failedCount"`
	Succeeded int `json:"succeededCount"`
	Running   int `json:"runningCount"`
	Pending   int `json:"pendingCount"`
}

// outcome is what a job has done with one device, in Azure's form.
type outcome struct {
	Device  string         `json:"deviceId"`
	Job     string         `json:"jobId"`
	Type    string         `json:"jobType"`
	Status  string         `json:"status"`
	Created string         `json:"createdDateTimeUtc"`
	Updated string         `json:"lastUpdatedDateTimeUtc"`
	Begun   string         `json:"startTimeUtc"`
	Ended   string         `json:"endTimeUtc,omitempty"`
	Outcome map[string]any `json:"outcome,omitempty"`
	Error   *outcomeError  `json:"error,omitempty"`
}

type outcomeError struct {
	Code string `json:"code"`
	Text string `json:"description"`
}

func (j job) over() bool { return j.End != nil }

// createJob takes a job, and runs it when its time has come.
func (h *Hub) createJob(w http.ResponseWriter, r *http.Request, _ right) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	j, err := readJob(r.PathValue("job"), text, time.Now().UTC())
	if err != nil {
		return err
	}
	j.Node = h.store.Node()
	revision, err := h.putJob(r.Context(), j, 0)
	if errors.Is(err, twin.PreconditionFailed) {
		return twin.JobExists
	}
	if err != nil {
		return err
	}
	h.log.Info("job is scheduled", "job", j.ID, "type", j.Type, "start", j.Start)
	h.startJob(r.Context(), j, revision)
	return writeJSON(w, http.StatusOK, shown(j))
}

var jobID = regexp.MustCompile(`^[A-Za-z0-9\-.+%_#*?!(),:=@$']{1,128}$`)

// readJob reads and checks a job.
func readJob(id string, text []byte, now time.Time) (job, error) {
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		return j, twin.Malformed.With("not a job: %v", err)
	}
	if !jobID.MatchString(id) || cmp.Or(j.ID, id) != id {
		return j, twin.ArgumentInvalid.With("jobId is not that of the path, or has characters that it must not have")
	}
	if _, err := query.ParseCondition(cmp.Or(j.Condition, "*")); err != nil {
		return j, twin.ArgumentInvalid.With("%v", err)
	}
	j = job{
		ID: id, Type: j.Type, Condition: cmp.Or(j.Condition, "*"), Created: now, Start: j.Start.UTC(), Status: jobScheduled,
		MaxSeconds: cmp.Or(j.MaxSeconds, usualJobLife), Method: j.Method, Twin: j.Twin,
	}
	if j.Start.IsZero() {
		j.Start = now
	}
	switch {
	case j.MaxSeconds < 1 || j.MaxSeconds > int(maxJobLife/time.Second):
		return j, twin.ArgumentInvalid.With("maxExecutionTimeInSeconds must be from 1 to %d", int(maxJobLife/time.Second))
	case j.Start.Sub(now) > maxJobDelay:
		return j, twin.ArgumentInvalid.With("startTime must be within %v", maxJobDelay)
	case j.Type == jobTwin && j.Twin != nil && j.Method == nil:
		_, err := j.patch()
		return j, err
	case j.Type == jobMethod && j.Method != nil && j.Twin == nil:
		return j, j.Method.check()
	}
	return j, twin.ArgumentInvalid.With("type must be %s, with updateTwin, or %s, with cloudToDeviceMethod", jobTwin, jobMethod)
}

// patch is what a job does to twins.
func (j job) patch() (twin.Patch, error) {
	body, err := twin.Decode(j.Twin)
	if err != nil {
		return twin.Patch{}, err
	}
	tags, desired, err := halves(body)
	return twin.Patch{Tags: tags, Desired: desired}, err
}

// putJob keeps a job.
func (h *Hub) putJob(ctx context.Context, j job, revision uint64) (uint64, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return 0, err
	}
	return h.store.Put(ctx, "jobs", twin.Document{Name: j.ID, Text: text, Revision: revision})
}

// job reads one.
func (h *Hub) job(ctx context.Context, id string) (j job, revision uint64, err error) {
	d, ok, err := h.store.Document(ctx, "jobs", id)
	if err != nil {
		return j, 0, err
	}
	if !ok {
		return j, 0, twin.JobNotFound
	}
	return j, d.Revision, json.Unmarshal(d.Text, &j)
}

// changeJob changes a job, unless it is over.
func (h *Hub) changeJob(ctx context.Context, id string, change func(*job)) (job, error) {
	for {
		j, revision, err := h.job(ctx, id)
		if err != nil || j.over() {
			return j, err
		}
		change(&j)
		if _, err = h.putJob(ctx, j, revision); !errors.Is(err, twin.PreconditionFailed) {
			return j, err
		}
	}
}

// shown is a job as others see it.
func shown(j job) job {
	j.Node = ""
	return j
}

func (h *Hub) getJob(w http.ResponseWriter, r *http.Request, _ right) error {
	j, _, err := h.job(r.Context(), r.PathValue("job"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, shown(j))
}

// cancelJob ends a job: no further device is begun with.
func (h *Hub) cancelJob(w http.ResponseWriter, r *http.Request, _ right) error {
	j, err := h.changeJob(r.Context(), r.PathValue("job"), func(j *job) {
		now := time.Now().UTC()
		j.Status, j.End = jobCancelled, &now
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, shown(j))
}

// listJobs answers jobs, of one type or status if that is asked for, page by page.
func (h *Hub) listJobs(w http.ResponseWriter, r *http.Request, _ right) error {
	wanted := r.URL.Query()
	limit, from, err := readPage(r, crc32.ChecksumIEEE([]byte(wanted.Get("jobType")+" "+wanted.Get("jobStatus"))))
	if err != nil {
		return err
	}
	var all []job
	for d, err := range h.store.Documents(r.Context(), "jobs", "") {
		var j job
		if err := errors.Join(err, json.Unmarshal(d.Text, &j)); err != nil {
			return err
		}
		is := func(have, want string) bool { return want == "" || strings.EqualFold(have, want) }
		if j.ID > from.After && is(j.Type, wanted.Get("jobType")) && is(j.Status, wanted.Get("jobStatus")) {
			all = append(all, shown(j))
		}
	}
	slices.SortFunc(all, func(a, b job) int { return cmp.Compare(a.ID, b.ID) })
	var next *page
	if len(all) > limit {
		all = all[:limit]
		next = &page{After: all[limit-1].ID, Sum: from.Sum}
	}
	return writePage(w, "JobResponse", all, next)
}
