package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

type twinCmd struct {
	Get   getTwinCmd   `cmd:"" help:"Print the twin of a device as JSON."`
	Patch patchTwinCmd `cmd:"" help:"Change tags or desired properties of a device."`
}

type getTwinCmd struct {
	ID       string `arg:"" help:"Device id."`
	Reported bool   `xor:"section" help:"Only what the device reports, without metadata."`
	Desired  bool   `xor:"section" help:"Only what is desired of it, without metadata."`
}

func (c *getTwinCmd) Run(s *session) error {
	_, twin, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	switch {
	case c.Reported:
		return s.printJSON(plain(twin.Properties.Reported))
	case c.Desired:
		return s.printJSON(plain(twin.Properties.Desired))
	}
	return s.printJSON(twin)
}

// plain returns a section without the hub's own members, which begin with $.
func plain(section map[string]any) map[string]any {
	clean := map[string]any{}
	for key, v := range section {
		if strings.HasPrefix(key, "$") {
			continue
		}
		if inner, ok := v.(map[string]any); ok {
			v = plain(inner)
		}
		clean[key] = v
	}
	return clean
}

type patchTwinCmd struct {
	ID   string `arg:"" help:"Device id."`
	JSON string `arg:"" help:"Merge patch such as {\"desired\": {…}}, {\"tags\": {…}} or {\"properties\": {\"desired\": {…}}}; null removes."`
}

// Run patches, and prints what came out of it: the desired properties, or the
// tags if only these were changed.
func (c *patchTwinCmd) Run(s *session) error {
	patch, err := decodePatch(c.JSON)
	if err != nil {
		return err
	}
	hub, err := s.hub()
	if err != nil {
		return err
	}
	twin, err := hub.PatchTwin(s.ctx, c.ID, patch, "")
	if err != nil {
		return err
	}
	if patch.Desired == nil {
		return s.printJSON(plain(twin.Tags))
	}
	return s.printJSON(plain(twin.Properties.Desired))
}

// patchForm is shown to whoever wrote a patch of another form.
const patchForm = `want {"desired": {…}}, {"tags": {…}} or {"properties": {"desired": {…}}}`

func decodePatch(text string) (iothub.TwinPatch, error) {
	var body struct {
		Tags       map[string]any `json:"tags"`
		Desired    map[string]any `json:"desired"` // short for the next
		Properties struct {
			Desired map[string]any `json:"desired"`
		} `json:"properties"`
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&body); err != nil {
		return iothub.TwinPatch{}, fmt.Errorf("cannot read patch: %w: %s", err, patchForm)
	}
	if _, err := dec.Token(); err != io.EOF {
		return iothub.TwinPatch{}, errors.New("patch is more than one JSON value")
	}
	desired := body.Properties.Desired
	if desired != nil && body.Desired != nil {
		return iothub.TwinPatch{}, errors.New("patch has desired properties in two places: " + patchForm)
	}
	if desired == nil {
		desired = body.Desired
	}
	if body.Tags == nil && desired == nil {
		return iothub.TwinPatch{}, errors.New("patch changes nothing: " + patchForm)
	}
	return iothub.TwinPatch{Tags: body.Tags, Desired: desired}, nil
}
