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
// what is in doubt is told with the outcome; and an update asks again before it
// disturbs the component.
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
	if err != nil || o.Result != Refused || !o.Unsigned || o.Step != "resolve" || !strings.Contains(o.Cause, "nobody has signed for it") {
		t.Errorf("%+v, %v", o, err)
	}
	e.Vouch = func(context.Context, Update, *pack.Package) (string, error) {
		asked++
		return "it may be old", nil
	}
	o, err = w.update(t, e, "2.0.0")
	if err != nil || o.Result != Updated || o.Unsigned || !cmp.Equal(o.Warnings, []string{"it may be old"}) {
		t.Errorf("%+v, %v", o, err)
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

// TestVouchAfterAWait: what was withdrawn while the update waited is not installed,
// nor what nobody can be asked about.
func TestVouchAfterAWait(t *testing.T) {
	for _, later := range []struct {
		answer error
		result string
	}{
		{nil, Updated},
		{errors.New("withdrawn"), Refused},
		{Retry{Err: errors.New("nobody answers")}, ""},
	} {
		w, e := newWorld(t, build(t, "20ms"))
		var answer error
		e.Vouch = func(context.Context, Update, *pack.Package) (string, error) { return "", answer }
		permission := error(Wait{For: "consent"})
		e.Permit = func(Update) error { return permission }
		if _, err := w.update(t, e, "2.0.0"); !errors.Is(err, permission) {
			t.Fatal(err)
		}
		permission, answer = nil, later.answer
		o, err := w.update(t, e, "2.0.0")
		var wait Wait
		if later.result == "" && errors.As(err, &wait) && wait.Poll && strings.Contains(wait.For, "still signed for: nobody answers") {
			answer, later.result = nil, Updated
			o, err = w.update(t, e, "2.0.0")
		}
		if err != nil || o.Result != later.result || o.Unsigned != (o.Result == Refused) {
			t.Errorf("%v: %+v, %v", later.answer, o, err)
		}
		w.check(t, o)
	}
}

// TestDescribeAnother: a file server that has another package as the one that is
// installed is not believed, with or without signatures.
func TestDescribeAnother(t *testing.T) {
	p := build(t, "20ms")
	w, e := newWorld(t, p)
	w.packages = packages{"1.0.0": p["2.0.0"], "2.0.0": p["2.0.0"]}
	if i, err := e.Describe(t.Context(), component, Installed{Version: "1.0.0"}); err == nil {
		t.Errorf("asked for 1.0.0, got %+v", i)
	}
	if i, err := e.Describe(t.Context(), "application/other", Installed{Version: "2.0.0"}); err == nil {
		t.Errorf("asked for another component, got %+v", i)
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
