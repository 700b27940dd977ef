package lwm2m

import (
	"context"
	"errors"
	"slices"
)

// sendPath is where devices send values (OMA LwM2M 1.1 section 6.4.6).
const sendPath = "dp"

// Send gives values to the server without being asked for them, in one message,
// such as readings that were collected while there was no network: their times go
// along. Nil means that the server has taken them. It needs LwM2M 1.1 and a
// registration; while the device is not registered the error is [ErrNotRegistered],
// and while the server wants to hear nothing unasked (object 1, Mute Send) it is
// [ErrMuted]. A server that does not know the device gets its registration first, and then the
// values.
func (c *Client) Send(ctx context.Context, records ...Record) error {
	if !c.Registered() {
		return ErrNotRegistered
	}
	c.mu.Lock()
	muted := c.server.muted
	c.mu.Unlock()
	if muted {
		return ErrMuted
	}
	records, err := conform(records, c.model)
	if err != nil {
		return err
	}
	payload, err := Encode(FormatSenMLCBOR, Path{}, records)
	if err != nil {
		return err
	}
	send := func() error {
		_, err := c.exchange(ctx, &Message{Code: Post, Path: []string{sendPath}, Format: new(FormatSenMLCBOR), Payload: payload})
		return err
	}
	if err = send(); errors.Is(err, &Error{Code: CodeNotFound}) && c.awaitUpdate(ctx) {
		err = send()
	}
	return err
}

// Errors of [Client.Send].
var (
	// ErrNotRegistered means that the device is not registered now.
	ErrNotRegistered = errors.New("the device is not registered")
	// ErrMuted means that the server has set Mute Send.
	ErrMuted = errors.New("the server takes no values unasked now")
)

// receive takes what a device sends.
func (s *Server) receive(ctx context.Context, peer string, m *Message) (*Message, error) {
	s.mu.Lock()
	d, ok := s.addresses[peer]
	s.mu.Unlock()
	switch {
	case m.Code != Post:
		return nil, Errorf(CodeMethodNotAllowed, "use POST")
	case !ok || d.Registration().Identity != m.Identity:
		return nil, Errorf(CodeNotFound, "register first")
	case m.Format == nil || !slices.Contains([]Format{FormatSenMLCBOR, FormatSenMLJSON}, *m.Format):
		return nil, Errorf(CodeUnsupportedFormat, "use SenML")
	}
	s.alive(d)
	records, err := Decode(*m.Format, Path{}, m.Payload, d.model())
	if err != nil {
		return nil, err
	}
	if err := s.config.OnSend(ctx, d, records); err != nil {
		return nil, err
	}
	return &Message{Code: CodeChanged}, nil
}
