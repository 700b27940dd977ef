package engine

import (
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// TestPark: a live state that does not belong to the version that is there is
// saved as what it is, and can become that version's by transforms.
func TestPark(t *testing.T) {
	w, e := newTelling(t, build(t, "1m"))
	old := w.installed
	if o, err := w.update(t, e, "2.0.0"); err != nil || o.Result != Updated {
		t.Fatalf("%+v, %v", o, err)
	}
	w.set(func() { w.current, w.running = "1.0.0", "" })
	gen, err := e.Park(t.Context(), component)
	if err != nil {
		t.Fatal(err)
	}
	if _, meta, err := e.States.Load(t.Context(), component, gen); err != nil || meta.Version != "2.0.0" || meta.Schema != 2 {
		t.Errorf("%+v, %v", meta, err)
	}
	w.set(func() { w.state = "" })
	for range 2 { // a repair may be done again
		chosen, err := e.Offer(t.Context(), component, old, gen)
		if err == nil {
			err = e.Reinstate(t.Context(), chosen)
		}
		if err != nil || !strings.HasPrefix(w.state, "schema 1 value 42") {
			t.Fatalf("state %q: %v", w.state, err)
		}
	}
	if err := e.Agree(component, "1.0.0"); err != nil {
		t.Error(err)
	}
	if _, err := e.Offer(t.Context(), component, old, gen+9); err == nil {
		t.Error("a state that is not there was offered")
	}
	h, _ := e.updater(t.Context(), &Update{Component: component})
	if err := h.Start(t.Context(), updater.StartRequest{Component: component}); err != nil {
		t.Error(err)
	}
}

func TestParseChoice(t *testing.T) {
	for _, good := range []string{"keep", "1", "9223372036854775807"} {
		if c, err := ParseChoice(good); err != nil || c.String() != good {
			t.Errorf("%q became %v, %v", good, c, err)
		}
	}
	for _, bad := range []string{"", "0", "-1", "Keep", "18446744073709551615", "1.0"} {
		if c, err := ParseChoice(bad); err == nil {
			t.Errorf("%q was read as %v", bad, c)
		}
	}
}
