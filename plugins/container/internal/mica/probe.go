package mica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/mica"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// probeTime bounds one question to a container's pages.
const probeTime = 5 * time.Second

// Probe asks the Base OS whether the container runs, and its pages whether it is
// well.
func (u *Updater) Probe(ctx context.Context, r updater.ProbeRequest) (updater.ProbeResponse, error) {
	h, err := u.home(r.Component)
	if err != nil {
		return updater.ProbeResponse{}, err
	}
	id, err := h.currentID()
	if err != nil {
		return updater.ProbeResponse{}, err
	}
	there, err := u.containers(ctx, h)
	if err != nil {
		return updater.ProbeResponse{}, fmt.Errorf("cannot probe %s: %w", r.Component, mica.Retry(err))
	}
	if id == "" || !there[id] {
		return updater.ProbeResponse{Reason: "it does not run"}, nil
	}
	v, err := h.version(id)
	if err == nil && v.Settings.Health != "" {
		err = u.ask(ctx, h.container(id), v.Settings.Health)
	}
	if ctx.Err() != nil {
		return updater.ProbeResponse{}, ctx.Err()
	}
	if err != nil {
		return updater.ProbeResponse{Reason: err.Error()}, nil
	}
	return updater.ProbeResponse{Healthy: true}, nil
}

// ask gets a page of a container, which the Base OS passes on below its name.
func (u *Updater) ask(ctx context.Context, container, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	response, err := u.base.Page(ctx, "/"+container+path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("its page %s answers %s", path, response.Status)
	}
	return nil
}

// Status tells what is switched to and what the Base OS says of it.
func (u *Updater) Status(ctx context.Context, r updater.StatusRequest) (updater.StatusResponse, error) {
	h, err := u.home(r.Component)
	if err != nil {
		return updater.StatusResponse{}, err
	}
	id, err := h.currentID()
	if err != nil || id == "" {
		return updater.StatusResponse{}, err
	}
	v, errVersion := h.version(id)
	there, err := u.containers(ctx, h)
	if err = errors.Join(errVersion, err); err != nil {
		return updater.StatusResponse{}, fmt.Errorf("cannot tell the status of %s: %w", r.Component, mica.Retry(err))
	}
	return updater.StatusResponse{
		Version: v.Version, Running: there[id], Handle: handle(id),
		NoState: v.Settings.State != "" && !disk.Exists(h.state()) && !disk.Exists(h.ran()),
	}, nil
}
