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
	ID string `arg:"" help:"Device id."`
}

func (c *getTwinCmd) Run(s *session) error {
	hub, err := s.hub()
	if err != nil {
		return err
	}
	twin, err := hub.Twin(s.ctx, c.ID)
	if err != nil {
		return err
	}
	return s.printJSON(twin)
}

type patchTwinCmd struct {
	ID   string `arg:"" help:"Device id."`
	JSON string `arg:"" help:"Merge patch: {\"tags\": …, \"properties\": {\"desired\": …}}; null removes."`
}

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
	return s.printJSON(twin)
}

func decodePatch(text string) (iothub.TwinPatch, error) {
	var body struct {
		Tags       map[string]any `json:"tags"`
		Properties struct {
			Desired map[string]any `json:"desired"`
		} `json:"properties"`
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&body); err != nil {
		return iothub.TwinPatch{}, fmt.Errorf("patch is not like {\"properties\": {\"desired\": …}}: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return iothub.TwinPatch{}, errors.New("patch is more than one JSON value")
	}
	if body.Tags == nil && body.Properties.Desired == nil {
		return iothub.TwinPatch{}, errors.New("patch changes nothing: it has neither tags nor properties.desired")
	}
	return iothub.TwinPatch{Tags: body.Tags, Desired: body.Properties.Desired}, nil
}
