package coap_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/queue"
)

// TestQueueMode holds a request back while the device sleeps.
func TestQueueMode(t *testing.T) {
	for _, v := range []string{"1.0", "1.1"} {
		const window = 200 * time.Millisecond
		s := startServerWith(t, func(c *lwm2m.ServerConfig) { c.AwakeTime = window })
		sleeps := make(chan bool, 100)
		d := startDevice(t, s.address, func(c *lwm2m.ClientConfig) {
			c.Version, c.QueueMode, c.AwakeTime = v, true, window
			c.OnAwake = func(awake bool) { sleeps <- awake }
		})
		var woken atomic.Bool
		executed := make(chan bool, 1)
		d.hook(nil, func(context.Context, lwm2m.Path, string) error { executed <- woken.Load(); return nil })
		e := s.event(t, lwm2m.Registered)
		if !e.Registration.QueueMode || !<-sleeps {
			t.Errorf("%s: not in queue mode, or asleep at once", v)
		}
		eventually(t, "the device sleeps", func() bool { return !e.Device.Awake() })
		if <-sleeps {
			t.Errorf("%s: the device is awake", v)
		}
		done := make(chan error, 1)
		go func() { done <- e.Device.Execute(deadline(t), component.Child(objects.ComponentCheckNow), "") }()
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := e.Device.Read(short, version); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: read while it sleeps: %v", v, err)
		}
		cancel()
		woken.Store(true)
		if err := wake(t, d, window, done); err != nil || !<-executed {
			t.Errorf("%s: %v, or executed while it slept", v, err)
		}
		d.stop()
	}
}

// wake wakes a device until what waits for it is done: on a busy machine it may be
// asleep again before the server has begun.
func wake[T any](t *testing.T, d *device, window time.Duration, done <-chan T) T {
	t.Helper()
	for ctx := deadline(t); ; {
		d.ObjectsChanged()
		select {
		case x := <-done:
			return x
		case <-time.After(2 * window):
		case <-ctx.Done():
			t.Fatal("what waits for the device is not done")
		}
	}
}

// TestJobs gives jobs to a device that is away, across a restart of the server.
func TestJobs(t *testing.T) {
	folder := t.TempDir()
	results := make(chan lwm2m.Result, 10)
	start := func() *server {
		q, err := queue.Open(folder)
		if err != nil {
			t.Fatal(err)
		}
		return startServerWith(t, func(c *lwm2m.ServerConfig) {
			c.Queue, c.OnResult = q, func(r lwm2m.Result) { results <- r }
		})
	}
	s := start()
	write, err := lwm2m.WriteJob(component, lwm2m.Update, []lwm2m.Record{{Path: wanted, Value: lwm2m.String("3.0.0")}})
	if err != nil {
		t.Fatal(err)
	}
	late := lwm2m.ReadJob(version)
	late.Expires = time.Now().Add(-time.Second)
	var ids []string
	enqueue := func(s *server, j lwm2m.Job) {
		id, err := s.Enqueue(deadline(t), "device-1", j)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	for _, j := range []lwm2m.Job{write, late, lwm2m.ReadJob(wanted), lwm2m.ExecuteJob(version, "")} {
		enqueue(s, j)
	}
	s.stop()
	s = start()
	startDevice(t, s.address, nil)
	s.event(t, lwm2m.Registered)
	enqueue(s, lwm2m.Job{Kind: "dance", Path: version})
	for i, check := range []func(lwm2m.Result) bool{
		func(r lwm2m.Result) bool { return r.Err == nil },
		func(r lwm2m.Result) bool { return errors.Is(r.Err, lwm2m.ErrExpired) },
		func(r lwm2m.Result) bool {
			return r.Err == nil && len(r.Records) == 1 && r.Records[0].Value == lwm2m.String("3.0.0")
		},
		func(r lwm2m.Result) bool { return errors.Is(r.Err, &lwm2m.Error{Code: lwm2m.CodeMethodNotAllowed}) },
		func(r lwm2m.Result) bool { return r.Err != nil },
	} {
		if r := <-results; !check(r) || r.Job.ID != ids[i] {
			t.Errorf("result %d: %+v", i, r)
		}
	}
	q, err := queue.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is empty", func() bool { jobs, err := q.Jobs(t.Context(), "device-1"); return err == nil && len(jobs) == 0 })
	if _, err := startServer(t, "127.0.0.1:0").Enqueue(deadline(t), "x", write); err == nil {
		t.Error("a server without a queue took a job")
	}
}

// TestJobsOfASleeper does jobs as soon as the device is awake.
func TestJobsOfASleeper(t *testing.T) {
	const window = 100 * time.Millisecond
	results := make(chan lwm2m.Result, 10)
	s := startServerWith(t, func(c *lwm2m.ServerConfig) {
		c.Queue, c.OnResult, c.AwakeTime = new(lwm2m.MemoryQueue), func(r lwm2m.Result) { results <- r }, window
	})
	d := startDevice(t, s.address, func(c *lwm2m.ClientConfig) { c.QueueMode, c.AwakeTime = true, window })
	remote := s.event(t, lwm2m.Registered).Device
	eventually(t, "the device sleeps", func() bool { return !remote.Awake() })
	if _, err := s.Enqueue(deadline(t), "device-1", lwm2m.ReadJob(version)); err != nil {
		t.Fatal(err)
	}
	if r := wake(t, d, window, results); r.Err != nil || len(r.Records) != 1 {
		t.Errorf("%+v", r)
	}
}
