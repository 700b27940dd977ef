package component

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Paths of the dependence protocol: HTTP/1.1 over the agent's socket. A GET
// of PathDependence?of=…&name=…&policy=… answers with server-sent events, one
// Notice each; the others take an Answer as JSON.
const (
	PathDependence = "/v1/dependence" // GET
	PathReady      = "/v1/ready"      // POST: the dependant needs the component no more
	PathDefer      = "/v1/defer"      // POST: the dependant asks for a delay; 409: not any more, with the reason
)

// States of a component, as a dependant sees them.
const (
	Asking  = "asking"  // an update is about to begin: it may be delayed
	Leaving = "leaving" // it will be, or is, away until UnavailableUntil
	Live    = "live"    // it serves
)

// A Notice tells a dependant of the component that it depends on.
type Notice struct {
	Of               string    `json:"of"` // "application/sensor-adapter"
	State            string    `json:"state"`
	Version          string    `json:"version,omitempty"` // that serves, or served last
	Update           string    `json:"update,omitempty"`  // its identity
	To               string    `json:"to,omitempty"`      // version
	UnavailableUntil time.Time `json:"unavailableUntil,omitzero"`
	Latest           time.Time `json:"latest,omitzero"` // of Asking: when the update begins, whoever delays it
}

// An Answer is what a dependant says to an update.
type Answer struct {
	Name   string `json:"name"`
	Of     string `json:"of"`
	Update string `json:"update"`
	For    string `json:"for,omitempty"` // of a delay, as in "10m"; "0s" takes it back
	Reason string `json:"reason,omitempty"`
}

// A Dependence says what this program depends on.
type Dependence struct {
	Of     string // component, "application/sensor-adapter"
	Name   string // of the dependant; "": Name()
	Policy string // "tell" (default); "stop" or "defer" if the agent's configuration or a package says the same

	// Asked may delay an update that is about to begin, for the reason it
	// gives; 0 lets it begin. The update begins at n.Latest in any case. Only
	// with Policy "defer"; nil never delays.
	Asked func(ctx context.Context, n Notice) (delay time.Duration, reason string)
	// Changed hears whether the component serves, at first how it is now. The
	// component is not stopped before Changed has returned from Leaving, or
	// for some seconds: end there what needs it.
	Changed func(ctx context.Context, n Notice)
}

// Depend follows a component until ctx ends. While the agent is away it tries
// again: then the component may be away for an update, or not. Outside of
// Tranquil it just waits for ctx.
func Depend(ctx context.Context, d Dependence) error {
	socket := os.Getenv(EnvLink)
	if socket == "" {
		<-ctx.Done()
		return nil
	}
	d.Name, d.Policy = cmp.Or(d.Name, Name()), cmp.Or(d.Policy, "tell")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for pause := retryFirst; ; pause = min(2*pause, retryMax) {
		heard, err := d.follow(ctx, client)
		if ctx.Err() != nil {
			return nil
		}
		if refused := (refusal{}); errors.As(err, &refused) {
			return fmt.Errorf("cannot depend on %s: %w", d.Of, err)
		}
		if heard {
			pause = retryFirst
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// A refusal is what the agent would say again.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// follow listens once.
func (d Dependence) follow(ctx context.Context, client *http.Client) (heard bool, err error) {
	query := url.Values{"of": {d.Of}, "name": {d.Name}, "policy": {d.Policy}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+PathDependence+"?"+query.Encode(), nil)
	if err != nil {
		return false, err
	}
	response, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, reason(response)
	}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		var n Notice
		if err := json.Unmarshal([]byte(data), &n); err != nil {
			return heard, fmt.Errorf("cannot read notice: %w", err)
		}
		heard = true
		d.take(ctx, client, n)
	}
	return heard, io.ErrUnexpectedEOF
}

// reason reads why the agent has refused.
func reason(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil || response.StatusCode >= 500 {
		return fmt.Errorf("agent answered %s", response.Status)
	}
	return refusal{strings.TrimSpace(string(text))}
}

// take handles one notice, and answers it. An answer that does not arrive is
// no harm: the agent waits for a while only.
func (d Dependence) take(ctx context.Context, client *http.Client, n Notice) {
	answer := Answer{Name: d.Name, Of: d.Of, Update: n.Update}
	if n.State == Asking {
		if d.Asked != nil {
			delay, why := d.Asked(ctx, n)
			answer.For, answer.Reason = delay.String(), why
		} else {
			answer.For = "0s"
		}
		_ = post(ctx, client, PathDefer, answer)
		return
	}
	if d.Changed != nil {
		d.Changed(ctx, n)
	}
	if n.State == Leaving {
		_ = post(ctx, client, PathReady, answer)
	}
}

func post(ctx context.Context, client *http.Client, path string, a Answer) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return reason(response)
	}
	return nil
}
