package lwm2m

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// JobKind is what a [Job] does.
type JobKind string

// The kinds of jobs.
const (
	JobRead    JobKind = "read"
	JobWrite   JobKind = "write"
	JobExecute JobKind = "execute"
)

// Job is an operation that waits for a device. It is plain data, which a [Queue]
// can keep as JSON or otherwise; [ReadJob], [WriteJob] and [ExecuteJob] make it.
type Job struct {
	ID        string    `json:"id"` // unique, given by Enqueue
	Endpoint  string    `json:"endpoint"`
	Kind      JobKind   `json:"kind"`
	Path      Path      `json:"path"`
	Mode      WriteMode `json:"mode,omitempty"`
	Values    []byte    `json:"values,omitempty"` // of a write, SenML JSON
	Arguments string    `json:"arguments,omitempty"`
	Expires   time.Time `json:"expires,omitzero"` // zero: never
}

// ReadJob reads p.
func ReadJob(p Path) Job { return Job{Kind: JobRead, Path: p} }

// ExecuteJob executes p.
func ExecuteJob(p Path, arguments string) Job {
	return Job{Kind: JobExecute, Path: p, Arguments: arguments}
}

// WriteJob writes records under p.
func WriteJob(p Path, mode WriteMode, records []Record) (Job, error) {
	values, err := Encode(FormatSenMLJSON, p, records)
	return Job{Kind: JobWrite, Path: p, Mode: mode, Values: values}, err
}

// Queue keeps jobs for devices that sleep or are away. It is called from several
// goroutines at once.
type Queue interface {
	// Put keeps a job: when it returns nil, a restart does not lose it.
	Put(ctx context.Context, j Job) error
	// Jobs gives the jobs of an endpoint, in the order in which they were put.
	Jobs(ctx context.Context, endpoint string) ([]Job, error)
	// Remove forgets a job. That it is not there is no error.
	Remove(ctx context.Context, j Job) error
}

// Result is how a job ended. Err is nil, an [*Error] of the device, ErrExpired, or
// what is wrong with the job itself.
type Result struct {
	Job     Job
	Records []Record // of a read
	Err     error
}

// ErrExpired means that the device was not there before the job's time was over.
var ErrExpired = errors.New("the device was not there in time")

// Enqueue gives a job to a device, registered or not: it is done when the device
// is awake, after those that were given before, and [ServerConfig.OnResult] hears
// of it. The job is repeated if the device did not answer, or if the server ended
// before it had the answer, so it should be one that may be done twice. Enqueue
// returns the job's id when the queue has it.
func (s *Server) Enqueue(ctx context.Context, endpoint string, j Job) (string, error) {
	if s.config.Queue == nil {
		return "", errors.New("cannot enqueue a job: the server has no queue")
	}
	j.ID, j.Endpoint = newID(), endpoint
	if err := s.config.Queue.Put(ctx, j); err != nil {
		return "", fmt.Errorf("cannot enqueue a job: %w", err)
	}
	if d, ok := s.Device(endpoint); ok {
		s.work(d)
	}
	return j.ID, nil
}

// work does the jobs of a device in the background, if it is awake. One worker per
// device does them; a call while it works makes it look again.
func (s *Server) work(d *Device) {
	if s.config.Queue == nil {
		return
	}
	d.jobs.put(letter{run: func() {
		if d.alive.Err() == nil && d.Awake() {
			s.doJobs(d)
		}
	}})
}

func (s *Server) doJobs(d *Device) {
	jobs, err := s.config.Queue.Jobs(d.alive, d.endpoint)
	if err != nil {
		s.logger.Error("cannot read the queue of a device", "endpoint", d.endpoint, "error", err)
		return
	}
	for _, j := range jobs {
		records, err := s.doJob(d, j)
		if unanswered(err) || d.alive.Err() != nil {
			s.logger.Info("a job waits on", "endpoint", d.endpoint, "job", j.ID, "error", err)
			return
		}
		if s.config.OnResult != nil {
			s.config.OnResult(Result{Job: j, Records: records, Err: err})
		}
		if err := s.config.Queue.Remove(d.alive, j); err != nil {
			s.logger.Error("cannot remove a job that is done", "endpoint", d.endpoint, "job", j.ID, "error", err)
			return
		}
	}
}

func (s *Server) doJob(d *Device, j Job) ([]Record, error) {
	if !j.Expires.IsZero() && time.Now().After(j.Expires) {
		return nil, ErrExpired
	}
	switch j.Kind {
	case JobRead:
		return d.Read(d.alive, j.Path)
	case JobExecute:
		return nil, d.Execute(d.alive, j.Path, j.Arguments)
	case JobWrite:
		records, err := Decode(FormatSenMLJSON, j.Path, j.Values, d.model())
		if err != nil {
			return nil, err
		}
		return nil, d.Write(d.alive, j.Path, j.Mode, records)
	}
	return nil, fmt.Errorf("the kind %.20q of the job is unknown", j.Kind)
}

// ErrUnreachable marks errors of requests that have no answer: the device cannot be
// reached now, or does not answer.
var ErrUnreachable = errors.New("cannot reach the device")

func unanswered(err error) bool { return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrGone) }

// MemoryQueue is a [Queue] that lasts as long as the process. Package queue has
// one in files.
type MemoryQueue struct {
	mu   sync.Mutex
	jobs map[string][]Job
}

// Put implements [Queue].
func (q *MemoryQueue) Put(_ context.Context, j Job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.jobs == nil {
		q.jobs = map[string][]Job{}
	}
	q.jobs[j.Endpoint] = append(q.jobs[j.Endpoint], j)
	return nil
}

// Jobs implements [Queue].
func (q *MemoryQueue) Jobs(_ context.Context, endpoint string) ([]Job, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.jobs[endpoint]), nil
}

// Remove implements [Queue].
func (q *MemoryQueue) Remove(_ context.Context, j Job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := slices.DeleteFunc(q.jobs[j.Endpoint], func(k Job) bool { return k.ID == j.ID })
	if q.jobs[j.Endpoint] = left; len(left) == 0 {
		delete(q.jobs, j.Endpoint)
	}
	return nil
}
