package hub

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/query"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// start is a job that this hub is to run, at its revision.
type start struct {
	job      job
	revision uint64
}

// serveJobs runs jobs until ctx is done; those that have not ended then are for another hub, or for this one when it
// starts again.
func (h *Hub) serveJobs(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case s := <-h.starts:
			wg.Go(func() { h.runJob(ctx, s.job, s.revision) })
		case <-ctx.Done():
			return nil
		}
	}
}

// startJob has a job run, unless the hub ends.
func (h *Hub) startJob(ctx context.Context, j job, revision uint64) {
	select {
	case h.starts <- start{j, revision}:
	case <-ctx.Done():
	}
}

// adoptJobs takes over jobs of hubs that are gone.
func (h *Hub) adoptJobs(ctx context.Context, dead func(node string) bool) error {
	for d, err := range h.store.Documents(ctx, "jobs", "") {
		var j job
		if err := errors.Join(err, json.Unmarshal(d.Text, &j)); err != nil {
			return err
		}
		if j.over() || !dead(j.Node) {
			continue
		}
		j.Node = h.store.Node()
		revision, err := h.putJob(ctx, j, d.Revision)
		if errors.Is(err, twin.PreconditionFailed) { // another hub was faster
			continue
		}
		if err != nil {
			return err
		}
		h.log.Info("job is taken over", "job", j.ID)
		h.startJob(ctx, j, revision)
	}
	return nil
}

// runJob waits for the start of a job and does it.
func (h *Hub) runJob(ctx context.Context, j job, revision uint64) {
	pause(ctx, time.Until(j.Start))
	if ctx.Err() != nil {
		return
	}
	_, now, err := h.job(ctx, j.ID)
	if err == nil && now != revision { // it was cancelled
		return
	}
	if err == nil {
		_, err = h.changeJob(ctx, j.ID, func(j *job) { j.Status = jobRunning })
	}
	r := &jobRun{hub: h, job: j}
	if err == nil {
		err = r.run(ctx)
	}
	if ctx.Err() != nil { // whoever adopts it goes on
		return
	}
	_, err2 := h.changeJob(ctx, j.ID, func(j *job) {
		end := time.Now().UTC()
		j.Status, j.End, j.Statistics = jobCompleted, &end, r.statistics()
		if err != nil {
			j.Status, j.Reason = jobFailed, h.refusal(err).Message
		}
	})
	if err := errors.Join(err, err2); err != nil {
		h.log.Error("job has failed", "job", j.ID, "error", err)
		return
	}
	h.log.Info("job has ended", "job", j.ID)
}

// jobRun is the work of one job.
type jobRun struct {
	hub *Hub
	job job

	mu     sync.Mutex
	counts jobStatistics
}

func (r *jobRun) statistics() jobStatistics {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

func (r *jobRun) count(change func(*jobStatistics)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.counts)
}

// run does the job with all devices that fulfil its condition and were not done with before.
func (r *jobRun) run(ctx context.Context) error {
	todo, err := r.devices(ctx)
	if err != nil {
		return err
	}
	deadline, cancel := context.WithDeadline(ctx, r.job.Start.Add(time.Duration(r.job.MaxSeconds)*time.Second))
	defer cancel()
	queue := make(chan string)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range jobParallelism {
		wg.Go(func() {
			for device := range queue {
				failed := r.do(deadline, ctx, device)
				mu.Lock()
				err = errors.Join(err, failed)
				mu.Unlock()
			}
		})
	}
	last := time.Now()
	for _, device := range todo {
		queue <- device
		if time.Since(last) > time.Second || ctx.Err() != nil {
			last = time.Now()
			if over, err := r.tell(ctx); over || err != nil {
				break
			}
		}
	}
	close(queue)
	wg.Wait()
	return err
}

// tell writes how far the job is, and answers whether it is over, since somebody has cancelled it.
func (r *jobRun) tell(ctx context.Context) (over bool, err error) {
	j, err := r.hub.changeJob(ctx, r.job.ID, func(j *job) { j.Statistics = r.statistics() })
	return j.over(), err
}

// devices are those that are still to be done. With a method that was under way when its hub died nobody knows what the
// device has done: it is not called again.
func (r *jobRun) devices(ctx context.Context) ([]string, error) {
	condition, err := query.ParseCondition(r.job.Condition)
	if err != nil {
		return nil, err
	}
	known := map[string]outcome{}
	for d, err := range r.hub.store.Documents(ctx, "outcomes", r.job.ID) {
		var o outcome
		if err := errors.Join(err, json.Unmarshal(d.Text, &o)); err != nil {
			return nil, err
		}
		if o.Status == jobRunning && r.job.Type == jobMethod {
			o.Status, o.Ended = jobFailed, azureTime(time.Now())
			o.Error = &outcomeError{"Unknown", "the hub ended while the device was asked: it may have done it"}
			if _, err := r.note(ctx, o, d.Revision); err != nil {
				return nil, err
			}
		}
		if o.Status != jobRunning {
			known[o.Device] = o
		}
	}
	var todo []string
	for d, err := range r.hub.documents(ctx, "devices", "") {
		if err != nil {
			return nil, err
		}
		if _, done := known[d.key]; !done && condition.Matches(d.document) {
			todo = append(todo, d.key)
		}
	}
	r.count(func(s *jobStatistics) {
		s.Devices, s.Pending = len(todo)+len(known), len(todo)
		for _, o := range known {
			s.add(o.Status)
		}
	})
	_, err = r.tell(ctx)
	return todo, err
}

func (s *jobStatistics) add(status string) {
	if status == jobCompleted {
		s.Succeeded++
	} else {
		s.Failed++
	}
}

// note keeps an outcome.
func (r *jobRun) note(ctx context.Context, o outcome, revision uint64) (uint64, error) {
	o.Updated = azureTime(time.Now())
	text, err := json.Marshal(o)
	if err != nil {
		return 0, err
	}
	return r.hub.store.Put(ctx, "outcomes", twin.Document{Name: r.job.ID + "/" + o.Device, Text: text, Revision: revision})
}

// do does the job with one device; its error is the store's. deadline is the end of the job's time, ctx that of the hub.
func (r *jobRun) do(deadline, ctx context.Context, device string) error {
	begun := azureTime(time.Now())
	o := outcome{Device: device, Job: r.job.ID, Type: r.job.Type, Status: jobRunning, Begun: begun, Created: azureTime(r.job.Created)}
	r.count(func(s *jobStatistics) { s.Pending--; s.Running++ })
	before, _, err := r.hub.store.Document(ctx, "outcomes", r.job.ID+"/"+device) // of a hub that has died
	if err != nil {
		return err
	}
	revision, err := r.note(ctx, o, before.Revision)
	if err != nil {
		return err
	}
	response, err := r.act(deadline, device)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	o.Status, o.Ended = jobCompleted, azureTime(time.Now())
	if response != nil {
		o.Outcome = map[string]any{"deviceMethodResponse": response}
	}
	if err != nil {
		refusal := r.hub.refusal(err)
		o.Status, o.Error = jobFailed, &outcomeError{refusal.Name, refusal.Message}
	}
	r.count(func(s *jobStatistics) { s.Running--; s.add(o.Status) })
	_, err = r.note(ctx, o, revision)
	return err
}

// act changes the twin of a device, or calls its method.
func (r *jobRun) act(ctx context.Context, device string) (*methodAnswer, error) {
	if ctx.Err() != nil {
		return nil, twin.NoAnswer.With("the job's time is over")
	}
	if r.job.Type == jobMethod {
		answer, err := r.hub.invoke(ctx, device, *r.job.Method)
		if err != nil {
			return nil, err
		}
		return &answer, nil
	}
	patch, err := r.job.patch()
	if err == nil {
		_, err = r.hub.patchTwin(ctx, device, func(twin.Device) (twin.Patch, error) { return patch, nil })
	}
	return nil, err
}
