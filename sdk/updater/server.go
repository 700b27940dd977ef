package updater

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tranquil-iot/tranquil/sdk/updater/proto"
)

// overrunGrace is how long a method may go on after its call has ended before
// the updater gives itself up, so that the agent gets one that works.
const overrunGrace = 5 * time.Second

// A server answers the agent's calls with an author's updater.
type server struct {
	proto.UnimplementedUpdaterServer
	u       Updater
	caps    Capabilities
	log     *slog.Logger
	overrun func(method string) // called when a method ignores that its call has ended
	grace   time.Duration       // before overrun

	mu   sync.Mutex
	busy map[string]chan struct{} // by component: full while a call works on it
}

func newServer(componentType string, u Updater, log *slog.Logger) *server {
	caps := CapabilitiesOf(u)
	caps.Type = componentType
	return &server{
		u: u, caps: caps, log: log, grace: overrunGrace,
		overrun: func(string) {}, busy: map[string]chan struct{}{},
	}
}

// call runs one method of the author: alone on its component, watched, and
// with panics turned into errors.
func call[T any](ctx context.Context, s *server, method, component string, do func() (T, error)) (answer T, err error) {
	unlock, err := s.lock(ctx, component)
	if err != nil {
		return answer, toStatus(err)
	}
	defer unlock()
	defer s.watch(ctx, method)()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in updater", "method", method, "component", component, "panic", p, "stack", string(debug.Stack()))
			err = status.Errorf(codes.Internal, "panic in the updater's %s: %v", method, p)
		}
	}()
	answer, err = do()
	return answer, toStatus(err)
}

// lock waits until no other call works on the component.
func (s *server) lock(ctx context.Context, component string) (unlock func(), err error) {
	s.mu.Lock()
	busy := s.busy[component]
	if busy == nil {
		busy = make(chan struct{}, 1)
		s.busy[component] = busy
	}
	s.mu.Unlock()
	select {
	case busy <- struct{}{}:
	default:
		select {
		case busy <- struct{}{}:
		case <-ctx.Done():
			// Whether the caller's time was up or it gave up is a race that the
			// two ends can see differently; that it may ask again is not.
			return nil, fmt.Errorf("the updater is still busy with an earlier call for %s: %w", component, ErrRetry)
		}
	}
	unlock = func() { <-busy }
	if err := ctx.Err(); err != nil { // who gave up may have called Stop since
		unlock()
		return nil, fmt.Errorf("the call for %s had ended before it began: %w", component, err)
	}
	return unlock, nil
}

// watch reports a method that goes on although its call has ended.
func (s *server) watch(ctx context.Context, method string) (returned func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-done:
		case <-time.After(s.grace):
			s.overrun(method)
		}
	})
	return func() { close(done); stop() }
}

// optional returns u as the optional interface T.
func optional[T any](u Updater) (T, error) {
	t, ok := u.(T)
	if !ok {
		return t, toStatus(fmt.Errorf("this updater cannot do that: %w", errors.ErrUnsupported))
	}
	return t, nil
}

// nothing makes a method that returns only an error fit for call.
func nothing[T any](answer *T, do func() error) func() (*T, error) {
	return func() (*T, error) {
		if err := do(); err != nil {
			return nil, err
		}
		return answer, nil
	}
}

func (s *server) Capabilities(context.Context, *proto.CapabilitiesRequest) (*proto.CapabilitiesResponse, error) {
	c := s.caps
	return &proto.CapabilitiesResponse{
		Type: c.Type, State: c.State, Snapshot: c.Snapshot, Quiesce: c.Quiesce, Probe: c.Probe, Status: c.Status,
		Origin: c.Origin, Confirm: c.Confirm,
	}, nil
}

func (s *server) Stage(ctx context.Context, r *proto.StageRequest) (*proto.StageResponse, error) {
	return call(ctx, s, "Stage", r.Component, func() (*proto.StageResponse, error) {
		a, err := s.u.Stage(ctx, StageRequest{
			Component: r.Component, Version: r.Version, Artifact: r.Artifact,
			MediaType: r.MediaType, Settings: r.Settings,
		})
		return &proto.StageResponse{Handle: handleToProto(a.Handle)}, err
	})
}

func (s *server) Unstage(ctx context.Context, r *proto.UnstageRequest) (*proto.UnstageResponse, error) {
	return call(ctx, s, "Unstage", r.Component, nothing(&proto.UnstageResponse{}, func() error {
		return s.u.Unstage(ctx, UnstageRequest{r.Component, r.Version, handleFromProto(r.Handle)})
	}))
}

func (s *server) Switch(ctx context.Context, r *proto.SwitchRequest) (*proto.SwitchResponse, error) {
	return call(ctx, s, "Switch", r.Component, nothing(&proto.SwitchResponse{}, func() error {
		return s.u.Switch(ctx, SwitchRequest{r.Component, handleFromProto(r.Handle)})
	}))
}

func (s *server) Start(ctx context.Context, r *proto.StartRequest) (*proto.StartResponse, error) {
	return call(ctx, s, "Start", r.Component, nothing(&proto.StartResponse{}, func() error {
		return s.u.Start(ctx, StartRequest{r.Component})
	}))
}

func (s *server) Stop(ctx context.Context, r *proto.StopRequest) (*proto.StopResponse, error) {
	return call(ctx, s, "Stop", r.Component, func() (*proto.StopResponse, error) {
		a, err := s.u.Stop(ctx, StopRequest{r.Component, time.Duration(r.GraceNanoseconds)})
		return &proto.StopResponse{Forced: a.Forced}, err
	})
}
