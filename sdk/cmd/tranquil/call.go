package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

type callCmd struct {
	ID      string        `arg:"" help:"Device id."`
	Method  string        `arg:"" help:"What it shall do: read, write, execute, observe, cancel-observe, discover, write-attributes, create or delete."`
	Path    string        `arg:"" optional:"" help:"With what: an LwM2M path such as /3/0/9. Or the whole payload of the method, JSON."`
	Value   string        `arg:"" optional:"" help:"What to write or create, JSON or text; the arguments of an execute; attributes."`
	Wait    time.Duration `help:"How long to wait for a device that is away or sleeps, up to 5m."`
	Timeout time.Duration `default:"30s" help:"How long it may take to answer, from 5s to 5m."`
}

// Help is the long text of tranquil device call --help.
func (*callCmd) Help() string {
	return `Has a device do something now and prints what it answers. What shall hold for
longer, or wait for a device that comes tomorrow, belongs into its twin.

  tranquil device call mica-1 read /3/0/9
  tranquil device call mica-1 write /3/0/14 +01:00
  tranquil device call mica-1 write /3/0 '{"14": "+01:00", "15": "Europe/Zurich"}'
  tranquil device call mica-1 execute /3/0/4
  tranquil device call mica-1 write-attributes /3303/0/5700 '{"pmin": 5, "pmax": 60}'
  tranquil device call mica-1 read-composite '{"paths": ["/3/0/9", "/3303"]}'

Opaque values are base64, times RFC 3339, object links 3:0.`
}

func (c *callCmd) Run(s *session) error {
	payload, err := c.payload()
	if err != nil {
		return err
	}
	hub, err := s.hub()
	if err != nil {
		return err
	}
	answer, err := hub.CallMethod(s.ctx, c.ID, iothub.Method{Name: c.Method, Payload: payload, ConnectTimeout: c.Wait, ResponseTimeout: c.Timeout})
	if err != nil {
		return c.explain(err)
	}
	if s.JSON {
		return s.printJSON(answer)
	}
	return c.show(s, answer)
}

// payload is what the method gets: JSON as it was given, or made of path and value.
func (c *callCmd) payload() (any, error) {
	if c.Path == "" {
		return nil, nil
	}
	if !strings.HasPrefix(c.Path, "/") {
		if !json.Valid([]byte(c.Path)) || c.Value != "" {
			return nil, fmt.Errorf(`%q is neither an LwM2M path such as /3/0/9 nor the payload of a method, such as {"path": "/3/0/9"}`, c.Path)
		}
		return json.RawMessage(c.Path), nil
	}
	fields := map[string]any{"path": c.Path}
	switch method := strings.ToLower(c.Method); {
	case c.Value == "":
	case method == "execute":
		fields["arguments"] = c.Value
	case method == "write-attributes":
		fields["attributes"] = jsonOrText(c.Value)
	default:
		fields["value"] = jsonOrText(c.Value)
	}
	return fields, nil
}

func jsonOrText(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

// explain says what to do about an error of the hub.
func (c *callCmd) explain(err error) error {
	refused, _ := errors.AsType[*iothub.Error](err)
	switch {
	case iothub.IsNotOnline(err):
		return fmt.Errorf("%w: %s is away or sleeps; --wait 5m waits for it, and what is written to its twin waits as long as it takes", err, c.ID)
	case refused != nil && refused.Status == http.StatusGatewayTimeout:
		return fmt.Errorf("%w: it may have done it all the same; --timeout 5m gives it more time", err)
	}
	return err
}

// show prints what the device answers, or tells that it did not do it.
func (c *callCmd) show(s *session, answer *iothub.MethodAnswer) error {
	var known struct {
		Response json.RawMessage
		Error    string
	}
	lwm2m := json.Unmarshal(answer.Payload, &known) == nil // else a device of others
	if answer.Status/100 != 2 {
		cause := known.Error
		if cause == "" {
			cause = string(answer.Payload)
		}
		return fmt.Errorf("%s refused with %d: %s", c.ID, answer.Status, oneLine(cause))
	}
	switch {
	case lwm2m && known.Response != nil:
		return s.printJSON(known.Response)
	case lwm2m || string(answer.Payload) == "null":
		fmt.Fprintln(s.out, "done")
		return nil
	}
	return s.printJSON(answer.Payload)
}
