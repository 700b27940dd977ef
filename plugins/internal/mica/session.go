package mica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// A session is one connection: requests that wait for their answers.
type session struct {
	connection *websocket.Conn
	ctx        context.Context // ends with the session
	end        context.CancelCauseFunc

	mu      sync.Mutex
	last    int64
	waiting map[int64]chan answer
}

// request and answer are JSON-RPC 2.0.
type request struct {
	Version string `json:"jsonrpc"`
	ID      int64  `json:"id"`
	Method  string `json:"method"`
	Params  any    `json:"params,omitempty"`
}

type answer struct {
	ID     *int64          `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *Error          `json:"error"`
}

func newSession(c *websocket.Conn) *session {
	s := &session{connection: c, waiting: map[int64]chan answer{}}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	go s.read()
	return s
}

func (s *session) over() bool { return s.ctx.Err() != nil }

func (s *session) close() {
	s.end(errors.New("closed"))
	s.connection.CloseNow()
}

// read hands answers to those who wait. What nobody waits for is dropped: the
// Base OS may notify, of which nothing is documented.
func (s *session) read() {
	defer s.close()
	for {
		_, data, err := s.connection.Read(s.ctx)
		if err != nil {
			s.end(err)
			return
		}
		var a answer
		if err := json.Unmarshal(data, &a); err != nil {
			s.end(fmt.Errorf("cannot understand the Base OS: %w", err))
			return
		}
		if a.ID == nil {
			continue
		}
		s.mu.Lock()
		waiting := s.waiting[*a.ID]
		delete(s.waiting, *a.ID)
		s.mu.Unlock()
		if waiting != nil {
			waiting <- a
		}
	}
}

func (s *session) call(ctx context.Context, method string, params, result any) error {
	own := make(chan answer, 1)
	s.mu.Lock()
	s.last++
	id := s.last
	s.waiting[id] = own
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	data, err := json.Marshal(request{"2.0", id, method, params})
	if err != nil {
		return err
	}
	if err := s.write(data); err != nil {
		return errors.Join(errUnsent, s.lost(ctx, err))
	}
	select {
	case a := <-own:
		if a.Error != nil {
			return a.Error
		}
		return json.Unmarshal(a.Result, result)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return s.lost(ctx, context.Cause(s.ctx))
	}
}

// errUnsent says that the Base OS cannot have heard of the request.
var errUnsent = errors.New("the request was not sent")

// write has a time of its own: a write that is cut off ends the connection, also
// for others.
func (s *session) write(data []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, dialTime)
	defer cancel()
	return s.connection.Write(ctx, websocket.MessageText, data)
}

func (s *session) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// keepAlive asks for a sign of life, and ends a session that gives none.
func (s *session) keepAlive(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(s.ctx, every)
		var pong any
		err := s.call(ctx, "ping", nil, &pong)
		cancel()
		var refused *Error
		if err != nil && !errors.As(err, &refused) {
			s.close()
			return
		}
	}
}
