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

// Repair has the agent behind a control socket leave safe mode.
func Repair(ctx context.Context, control string) error {
	_, err := call(ctx, control, http.MethodPost, "/v1/repair")
	return err
}

// call asks something of the agent, and returns its answer.
func call(ctx context.Context, control, method, path string) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", control)
		},
	}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the agent, is it running? %w", err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the agent's answer: %w", err)
	case answer.StatusCode/100 != 2:
		return nil, errors.New(string(bytes.TrimSpace(b)))
	}
	return b, nil
}
