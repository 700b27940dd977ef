package state

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

func TestMark(t *testing.T) {
	m := open(t)
	if mark, found := m.Mark(component); found {
		t.Errorf("a new component has %+v", mark)
	}
	want := Mark{Live: Holder{Version: "1.0.0", Schema: 1, Handle: updater.Handle{Version: 1, Data: []byte("x")}}, Next: &Holder{Version: "2.0.0", Schema: 2}, Generation: 7}
	must(t, m.SetMark(component, want))
	must(t, m.Prune(component, Needs{}))
	if got, found := m.Mark(component); !found || cmp.Diff(want, got) != "" {
		t.Error(cmp.Diff(want, got))
	}
	name := filepath.Join(m.root, component, markName)
	other := filepath.Join(m.root, "application/other")
	must(t, os.MkdirAll(other, 0o700))
	must(t, os.Link(name, filepath.Join(other, markName)))
	if mark, found := m.Mark("application/other"); found {
		t.Errorf("another component's mark is %+v", mark)
	}
	must(t, os.Truncate(name, 40))
	if mark, found := m.Mark(component); found {
		t.Errorf("a damaged mark is %+v", mark)
	}
	// A mark that cannot be written leaves none that is wrong.
	must(t, m.SetMark(component, want))
	must(t, os.Mkdir(name+".tmp", 0o700))
	must(t, m.SetMark(component, Mark{}))
	if mark, found := m.Mark(component); found {
		t.Errorf("the old mark is still there: %+v", mark)
	}
}
