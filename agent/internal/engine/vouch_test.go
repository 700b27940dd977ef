package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// TestVouch: a package that nobody vouches for is refused before it is fetched;
// what is in doubt is told with the outcome; and an update asks once.
func TestVouch(t *testing.T) {
	p := build(t, "20ms")
	w, e := newWorld(t, p)
	asked := 0
	e.Vouch = func(_ context.Context, u Update, p *pack.Package) (string, error) {
		asked++
		if u.Component != component || p.Manifest.Version != "2.0.0" {
			t.Errorf("asked about %s %s", u.Component, p.Manifest.Version)
		}
		return "", errors.New("nobody has signed for it")
	}
	o, err := w.update(t, e, "2.0.0")
	if err != nil || o.Result != Refused || o.Step != "resolve" || !strings.Contains(o.Cause, "nobody has signed for it") {
		t.Errorf("%+v, %v", o, err)
	}
	e.Vouch = func(context.Context, Update, *pack.Package) (string, error) {
		asked++
		return "it may be old", nil
	}
	o, err = w.update(t, e, "2.0.0")
	if err != nil || o.Result != Updated || !cmp.Equal(o.Warnings, []string{"it may be old"}) {
		t.Errorf("%+v, %v", o, err)
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

// TestVouchForTheForgotten: an agent that has lost its memory does not believe the
// file server what the installed version consists of.
func TestVouchForTheForgotten(t *testing.T) {
	w, e := newWorld(t, build(t, "20ms"))
	refusal := errors.New("nobody has signed for it")
	e.Vouch = func(context.Context, Update, *pack.Package) (string, error) { return "", refusal }
	if _, err := e.Describe(t.Context(), component, w.installed); err != nil {
		t.Errorf("known by its digest: %v", err)
	}
	forgotten := Installed{Version: w.installed.Version, Handle: w.installed.Handle}
	if _, err := e.Describe(t.Context(), component, forgotten); !errors.Is(err, refusal) {
		t.Errorf("known by its version alone: %v", err)
	}
}
