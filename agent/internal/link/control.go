package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// Status asks the agent behind a control socket for its components.
func Status(ctx context.Context, control string) (views []engine.View, err error) {
	b, err := call(ctx, control, http.MethodGet, "/v1/status")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &views); err != nil {
		return nil, fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	return views, nil
}

// An Agent is what a running agent says of itself.
type Agent struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	Endpoint   string    `json:"endpoint"`
	Server     string    `json:"server"` // its LwM2M server, or bootstrap server
	Registered bool      `json:"registered"`
	Since      time.Time `json:"since,omitzero"` // of that; zero: it was not yet
}

// About asks the agent behind a control socket for itself.
func About(ctx context.Context, control string) (a Agent, err error) {
	err = askJSON(ctx, control, http.MethodGet, "/v1/agent", &a)
	return a, err
}

// History asks the agent behind a control socket how updates have ended, the oldest
// first.
func History(ctx context.Context, control string) (outcomes []engine.Outcome, err error) {
	err = askJSON(ctx, control, http.MethodGet, "/v1/history", &outcomes)
	return outcomes, err
}

// Logs asks it for the last lines of its log.
func Logs(ctx context.Context, control string) (lines []string, err error) {
	err = askJSON(ctx, control, http.MethodGet, "/v1/logs", &lines)
	return lines, err
}

// Metrics asks it for its numbers, as Prometheus reads them.
func Metrics(ctx context.Context, control string) ([]byte, error) {
	return call(ctx, control, http.MethodGet, "/v1/metrics")
}

// Restart has the agent behind a control socket begin anew.
func Restart(ctx context.Context, control string) error {
	_, err := call(ctx, control, http.MethodPost, "/v1/restart")
	return err
}

// Repair has the agent behind a control socket leave safe mode.
func Repair(ctx context.Context, control string) error {
	_, err := call(ctx, control, http.MethodPost, "/v1/repair")
	return err
}

// Mend begins the repair of a component: it goes on with the state that is
// chosen.
func Mend(ctx context.Context, control, component string, c engine.Choice) (update string, err error) {
	err = askJSON(ctx, control, http.MethodPost, "/v1/repair/"+component+"/"+c.String(), &update)
	return update, err
}

// Sideload brings a package and what vouches for it to the agent behind a control
// socket, and begins the update to it.
func Sideload(ctx context.Context, control, component string, load io.Reader) (update string, err error) {
	answer, done, err := ask(ctx, control, http.MethodPost, "/v1/sideload/"+component, load)
	if err != nil {
		return "", err
	}
	defer done()
	if err := json.NewDecoder(answer.Body).Decode(&update); err != nil {
		return "", fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	return update, nil
}

// What can be said to the update of a component that is in progress.
const (
	Consent = "consent" // it may begin
	Refuse  = "refuse"  // it must not
	Cancel  = "cancel"  // it shall turn back
)

// Answer says one of these to the agent behind a control socket.
func Answer(ctx context.Context, control, component, what string) error {
	_, err := call(ctx, control, http.MethodPost, "/v1/"+what+"/"+component)
	return err
}

// call asks something of the agent, and returns its answer.
func call(ctx context.Context, control, method, path string) ([]byte, error) {
	answer, done, err := ask(ctx, control, method, path, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	return b, nil
}

// ask asks something of the agent. What is no success is an error with the
// agent's reason; done is to be called otherwise.
func ask(ctx context.Context, control, method, path string, body io.Reader) (answer *http.Response, done func(), err error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", control)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return nil, nil, err
	}
	got, err := client.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot ask the agent, is it running? %w", err)
	}
	done = func() {
		got.Body.Close()
		client.CloseIdleConnections()
	}
	if got.StatusCode/100 != 2 {
		defer done()
		return nil, nil, refusal(got)
	}
	return got, done, nil
}

// refusal is the agent's reason for not doing what it was asked for.
func refusal(answer *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return err
	}
	return errors.New(string(bytes.TrimSpace(text)))
}
