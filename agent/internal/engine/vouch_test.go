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
