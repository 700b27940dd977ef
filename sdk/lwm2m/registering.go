package lwm2m

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How long the device waits before it tries to register again: from the first to
// the last, doubling, each times a random 0.5 to 1.5.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = time.Minute
)

// maxLocation bounds where a server has the registration, in bytes: it is sent with each
// update.
const maxLocation = 512

// deregisterTimeout bounds the goodbye when the device shuts down.
const deregisterTimeout = 3 * time.Second

// stayRegistered registers, keeps the registration alive and, when it is lost,
// registers anew, until ctx ends.
func (c *Client) stayRegistered(ctx context.Context) {
	pause, heard := firstPause, false
	for ctx.Err() == nil {
		err := c.register(ctx, !heard)
		heard = false
		if err == nil {
			pause = firstPause
			c.setRegistered(true)
			c.tellRenewed()
			err = c.keepUpdating(ctx)
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, errDisabled) {
				c.rest(ctx)
				continue
			}
			c.setRegistered(false)
			c.logger.Warn("not registered any more, registering anew", "server", c.Server(), "error", err)
			if _, heard = errors.AsType[*Error](err); !heard {
				c.firstServer()
			}
		} else if ctx.Err() == nil {
			c.logger.Warn("not registered, trying again", "server", c.Server(), "error", err)
			c.nextServer()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(float64(pause) * (0.5 + rand.Float64()))):
		}
		pause = min(2*pause, lastPause)
	}
}

// errDisabled says that the server does not want to see the device for a while.
var errDisabled = errors.New("disabled by the server")

// rest is what Disable asks for (OMA LwM2M 1.1, object 1, resource 4): the device says
// goodbye, and answers nobody until the time is over.
func (c *Client) rest(ctx context.Context) {
	select { // until the server has the answer
	case <-ctx.Done():
		return
	case <-time.After(firstPause):
	}
	c.forgetObservations()
	c.deregister(ctx)
	c.mu.Lock()
	c.peer = ""
	pause := c.server.disableTimeout
	c.mu.Unlock()
	c.logger.Info("disabled by the server", "server", c.Server(), "for", pause)
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// register makes another session with the server, unless that has just been heard over
// the present one.
func (c *Client) register(ctx context.Context, anew bool) (err error) {
	c.mu.Lock()
	peer := c.peer
	c.mu.Unlock()
	if anew {
		if peer, err = c.transport.Resolve(ctx, c.Server()); err != nil {
			return err
		}
	}
	c.forgetObservations() // they end with the former registration
	c.mu.Lock()
	c.peer = peer
	lifetime := c.server.lifetime
	c.mu.Unlock()
	links := c.links()
	answer, err := c.exchange(ctx, &Message{
		Code: Post, Path: []string{"rd"},
		Query: append([]string{
			"ep=" + c.config.Endpoint, lifetimeQuery(lifetime),
			"lwm2m=" + c.config.Version,
		}, c.binding()...),
		Format: new(FormatLink), Payload: links,
	})
	if err != nil {
		return err
	}
	if length := len(strings.Join(answer.Location, "/")); answer.Code != CodeCreated || length == 0 || length > maxLocation {
		return fmt.Errorf("the server answers a registration with %v and a location of %d bytes", answer.Code, length)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.location, c.listed = answer.Location, links
	return nil
}

// keepUpdating updates the registration when it is due or asked for; it returns
// with the first update that fails, or when ctx ends.
func (c *Client) keepUpdating(ctx context.Context) error {
	c.mu.Lock()
	sent := c.server.lifetime
	c.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.disable:
			return errDisabled
		case <-c.doubt:
			next, err := c.registerAgain(ctx, sent)
			if err != nil {
				return err
			}
			sent = next
			continue
		case <-c.kick:
		case <-time.After(updateInterval(sent)):
		}
		next, err := c.updateUndoubted(ctx, sent)
		if errors.Is(err, errDoubted) {
			continue
		}
		if err != nil {
			return err
		}
		sent = next
		c.tellRenewed()
	}
}

// errDoubted says that there may be no server at the other end of the session.
var errDoubted = errors.New("the server seems to have lost the session")

// updateUndoubted is an update that is given up when the session is in doubt.
func (c *Client) updateUndoubted(ctx context.Context, sent time.Duration) (time.Duration, error) {
	short, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.interrupt = cancel
	c.mu.Unlock()
	next, err := c.update(short, sent)
	if err != nil && errors.Is(context.Cause(short), errDoubted) {
		err = errDoubted
	}
	return next, err
}

// registerAgain registers over another session, if the server makes one. If not, the
// present one may be as good as ever.
func (c *Client) registerAgain(ctx context.Context, sent time.Duration) (time.Duration, error) {
	c.mu.Lock()
	before := c.peer
	c.mu.Unlock()
	err := c.register(ctx, true)
	c.mu.Lock()
	same, lifetime := c.peer == before, c.server.lifetime
	c.mu.Unlock()
	switch {
	case err != nil && same:
		c.logger.Info("the server seems to have lost the session, and makes no other one", "server", c.Server(), "error", err)
		return sent, nil
	case err != nil:
		return sent, err
	}
	c.tellRenewed()
	return lifetime, nil
}

// tellRenewed ends the wait for a registration that the server is sure to know.
func (c *Client) tellRenewed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.renewed)
	c.renewed = make(chan struct{})
}

// updateInterval leaves a third of the lifetime for retransmissions.
func updateInterval(lifetime time.Duration) time.Duration {
	return time.Duration(float64(lifetime) * (0.6 + 0.06*rand.Float64()))
}

// update sends what changed since the last update, often nothing.
func (c *Client) update(ctx context.Context, sent time.Duration) (time.Duration, error) {
	c.mu.Lock()
	lifetime, location, listed := c.server.lifetime, c.location, c.listed
	c.mu.Unlock()
	m := &Message{Code: Post, Path: location}
	if lifetime != sent {
		m.Query = append(m.Query, lifetimeQuery(lifetime))
	}
	links := c.links()
	if !bytes.Equal(links, listed) {
		m.Format, m.Payload = new(FormatLink), links
	}
	if _, err := c.exchange(ctx, m); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = links
	return lifetime, nil
}

// deregister says goodbye; that the server does not hear it does no harm.
func (c *Client) deregister(ctx context.Context) {
	if !c.Registered() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, deregisterTimeout)
	defer cancel()
	c.mu.Lock()
	m := &Message{Code: Delete, Path: c.location}
	c.mu.Unlock()
	if _, err := c.exchange(ctx, m); err != nil {
		c.logger.Info("cannot deregister", "server", c.Server(), "error", err)
	}
	c.setRegistered(false)
}

// exchange is a request to the server; an answer of class 4 or 5 is an *Error.
func (c *Client) exchange(ctx context.Context, m *Message) (*Message, error) {
	c.mu.Lock()
	peer := c.peer
	c.mu.Unlock()
	answer, err := c.transport.Exchange(ctx, peer, m)
	if err != nil {
		return nil, err
	}
	c.stirred()
	if !answer.Code.Success() {
		return nil, &Error{Code: answer.Code, Reason: brief(string(answer.Payload))}
	}
	return answer, nil
}

func (c *Client) setRegistered(registered bool) {
	c.mu.Lock()
	c.registered = registered
	c.mu.Unlock()
	c.logger.Info("registration", "server", c.Server(), "registered", registered)
	if c.config.OnRegistered != nil {
		c.config.OnRegistered(registered)
	}
}

// binding is UDP or TCP, perhaps in queue mode, which 1.0 and 1.1 say differently.
func (c *Client) binding() []string {
	b := "b=" + c.carried()
	switch {
	case !c.config.QueueMode:
		return []string{b}
	case c.config.Version == "1.0":
		return []string{b + "Q"}
	}
	return []string{b, "Q"}
}

// carried is "T" for a server that is reached over TCP or TLS, else "U".
func (c *Client) carried() string {
	if strings.HasSuffix(scheme(c.config.Server), "+tcp") {
		return "T"
	}
	return "U"
}

func scheme(address string) string {
	s, _, _ := strings.Cut(address, "://")
	return s
}

func lifetimeQuery(d time.Duration) string {
	return "lt=" + strconv.FormatInt(int64(d/time.Second), 10)
}

// senMLCBOR is the one format that a device of LwM2M 1.1 announces, the shortest: of a
// list Wakaama's server makes nothing and refuses the device. It takes the others too.
const senMLCBOR = "112"

// links is the registration payload: all objects but 0, with their instances.
func (c *Client) links() []byte {
	links := []Link{{Target: "/", Attributes: map[string]string{"rt": rootType}}}
	if c.config.Version != "1.0" {
		links[0].Attributes["ct"] = senMLCBOR
	}
	for _, id := range slices.Sorted(maps.Keys(c.objects)) {
		if id == securityObject {
			continue
		}
		instances := c.objects[id].Instances()
		if object := c.objectLink(id); len(instances) == 0 || object.Attributes != nil {
			links = append(links, object)
		}
		for _, instance := range instances {
			links = append(links, Link{Target: NewPath(id, instance).String()})
		}
	}
	return EncodeLinks(links)
}

// objectLink tells the object's version if it is not 1.0.
func (c *Client) objectLink(id uint16) Link {
	l := Link{Target: NewPath(id).String()}
	if v := c.model[id].Version; v != "" && v != "1.0" {
		l.Attributes = map[string]string{"ver": v}
	}
	return l
}
