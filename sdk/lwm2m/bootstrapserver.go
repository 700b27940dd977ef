package lwm2m

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
)

// BootstrapServerConfig configures a BootstrapServer.
type BootstrapServerConfig struct {
	// Provision gives what a device shall have: values of objects 0 and 1 (see
	// [Account.Records]) and of any others. It should give all of what an object
	// shall have, since what the device has of it is deleted before. An error
	// refuses the device; an [*Error] with its code, any other with 4.00.
	Provision func(ctx context.Context, endpoint string) ([]Record, error)
	// Authorize is as that of [ServerConfig].
	Authorize func(identity, endpoint string) error
	// OnDone, if not nil, is called at the end of each bootstrap, with nil if the
	// device accepted what it got.
	OnDone func(endpoint string, err error)
	// Logger may be nil.
	Logger *slog.Logger
}

// BootstrapServer gives devices the accounts of their management servers (OMA
// LwM2M 1.1 section 6.1): a device asks, the server deletes and writes, then says
// that it has finished.
type BootstrapServer struct {
	config    BootstrapServerConfig
	logger    *slog.Logger
	transport Transport
	running   context.Context
	workers   sync.WaitGroup
	refused   rarely

	mu   sync.Mutex
	busy map[string]context.CancelFunc // by peer
}

// NewBootstrapServer makes a BootstrapServer.
func NewBootstrapServer(config BootstrapServerConfig) *BootstrapServer {
	return &BootstrapServer{config: config, logger: loggerOrDiscard(config.Logger), busy: map[string]context.CancelFunc{}}
}

// Run serves devices over t until ctx ends; then it returns nil. An error means
// that the transport is broken. Run may be called once; t is not closed.
func (s *BootstrapServer) Run(ctx context.Context, t Transport) error {
	ctx, stop := context.WithCancel(ctx)
	defer s.workers.Wait()
	defer stop()
	s.transport, s.running = t, ctx
	return t.Serve(ctx, bootstrapHandler{s})
}

// bootstrapHandler keeps the Handler's methods out of the BootstrapServer's API.
type bootstrapHandler struct{ *BootstrapServer }

// ServeNotification implements [Handler].
func (bootstrapHandler) ServeNotification(_ string, _ *Message, done func(Reception)) { done(Refused) }

// ServeRequest implements [Handler].
func (h bootstrapHandler) ServeRequest(ctx context.Context, peer string, m *Message) *Message {
	answer, err := h.serve(ctx, peer, m)
	if err != nil {
		h.refused.log(h.logger.Info, "refused a device's request", "peer", peer, "error", brief(err.Error()))
		return errorMessage(err)
	}
	return answer
}

func (s *BootstrapServer) serve(ctx context.Context, peer string, m *Message) (*Message, error) {
	pack := m.Code == Get && slices.Equal(m.Path, []string{bootstrapPackPath})
	if !pack && (m.Code != Post || !slices.Equal(m.Path, []string{bootstrapPath})) {
		return nil, Errorf(CodeNotFound, "use POST /bs or GET /bspack")
	}
	endpoint, f := "", FormatTLV
	for name, value := range queries(m.Query) {
		switch name {
		case "ep":
			endpoint = value
		case "pct":
			if n, err := strconv.ParseUint(value, 10, 16); err == nil && slices.Contains([]Format{FormatSenMLCBOR, FormatSenMLJSON}, Format(n)) {
				f = Format(n)
			}
		}
	}
	if endpoint == "" {
		return nil, Errorf(CodeBadRequest, "the endpoint name is missing")
	}
	if err := authorize(s.config.Authorize, m.Identity, endpoint); err != nil {
		return nil, err
	}
	records, err := s.config.Provision(ctx, endpoint)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return nil, err
		}
		return nil, Errorf(CodeBadRequest, "this device is not known")
	}
	records = slices.SortedStableFunc(slices.Values(records), func(a, b Record) int { return a.Path.Compare(b.Path) })
	if pack {
		return s.pack(endpoint, m, records)
	}
	s.start(peer, endpoint, f, records)
	return &Message{Code: CodeChanged}, nil
}

func (s *BootstrapServer) pack(endpoint string, m *Message, records []Record) (*Message, error) {
	f := FormatSenMLCBOR
	if m.Accept != nil {
		f = *m.Accept
	}
	payload, err := Encode(f, Path{}, records)
	if err != nil {
		return nil, err
	}
	s.done(endpoint, nil)
	return &Message{Code: CodeContent, Format: &f, Payload: payload}, nil
}

// start provisions in the background; a device that asks anew begins anew.
func (s *BootstrapServer) start(peer, endpoint string, f Format, records []Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if former, ok := s.busy[peer]; ok {
		former()
	}
	ctx, stop := context.WithCancel(s.running)
	s.busy[peer] = stop
	s.workers.Go(func() {
		defer stop()
		err := s.provision(ctx, peer, f, records)
		s.mu.Lock()
		current := ctx.Err() == nil
		if current {
			delete(s.busy, peer)
		}
		s.mu.Unlock()
		if current {
			s.done(endpoint, err)
		}
	})
}

func (s *BootstrapServer) done(endpoint string, err error) {
	s.logger.Info("bootstrap", "endpoint", endpoint, "error", err)
	if s.config.OnDone != nil {
		s.config.OnDone(endpoint, err)
	}
}

func (s *BootstrapServer) provision(ctx context.Context, peer string, f Format, records []Record) error {
	var last Path
	for _, r := range records {
		p := r.Path.Prefix(DepthObject)
		if p != last || last.Depth() == DepthRoot {
			if err := s.request(ctx, peer, &Message{Code: Delete, Path: p.segments()}); err != nil {
				return fmt.Errorf("cannot delete %v: %w", p, err)
			}
		}
		last = p
	}
	for part := range parts(records) {
		p := part[0].Path.Prefix(DepthInstance)
		payload, err := Encode(f, p, part)
		if err != nil {
			return err
		}
		if err := s.request(ctx, peer, &Message{Code: Put, Path: p.segments(), Format: &f, Payload: payload}); err != nil {
			return fmt.Errorf("cannot write %v: %w", p, err)
		}
	}
	if err := s.request(ctx, peer, &Message{Code: Post, Path: []string{bootstrapPath}}); err != nil {
		return fmt.Errorf("the device does not accept what it got: %w", err)
	}
	return nil
}

func (s *BootstrapServer) request(ctx context.Context, peer string, m *Message) error {
	answer, err := s.transport.Exchange(ctx, peer, m)
	if err == nil && !answer.Code.Success() {
		err = &Error{Code: answer.Code, Reason: brief(string(answer.Payload))}
	}
	return err
}
