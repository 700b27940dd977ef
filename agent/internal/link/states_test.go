package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// states has generation 1; exporting 2 breaks off.
type states struct{ begun []string }

var errNone = errors.New("not sealed")

func (*states) List(component string) (any, error) { return []string{component}, nil }

func (*states) Show(_ string, gen uint64) (any, error) {
	if gen != 1 {
		return nil, errNone
	}
	return gen, nil
}

func (*states) Export(_ string, gen uint64, w io.Writer) error {
	if gen > 2 {
		return errNone
	}
	_, err := fmt.Fprint(w, "archive")
	if gen == 2 {
		err = errors.New("damaged")
	}
	return err
}

func (s *states) Restore(component string, gen uint64) (string, error) {
	s.begun = append(s.begun, fmt.Sprint(component, " ", gen))
	return "u1", nil
}

func (s *states) GoBack(component string, losing bool) (string, error) {
	s.begun = append(s.begun, fmt.Sprint(component, " ", losing))
	return "u2", nil
}

func TestStates(t *testing.T) {
	device := &states{}
	s := start(t, Config{States: device})
	ctx, name := t.Context(), "application/a"
	var list []string
	if err := ListStates(ctx, s.Control, name, &list); err != nil || list[0] != name {
		t.Errorf("list: %v, %v", list, err)
	}
	var one int
	if err := ShowState(ctx, s.Control, name, 1, &one); err != nil || one != 1 {
		t.Errorf("show: %v, %v", one, err)
	}
	if err := ShowState(ctx, s.Control, name, 3, &one); err == nil || err.Error() != errNone.Error() {
		t.Errorf("show what is not there: %v", err)
	}
	for gen, want := range map[uint64]string{1: "", 2: "breaks off", 3: errNone.Error()} {
		var archive bytes.Buffer
		err := ExportState(ctx, s.Control, name, gen, &archive)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("export %d: %v", gen, err)
		}
		if want == "" && archive.String() != "archive" {
			t.Errorf("exported %q", archive.String())
		}
	}
	if id, err := RestoreState(ctx, s.Control, name, 1); err != nil || id != "u1" {
		t.Errorf("restore: %v, %v", id, err)
	}
	if id, err := GoBack(ctx, s.Control, name, true); err != nil || id != "u2" {
		t.Errorf("go back: %v, %v", id, err)
	}
	if got := strings.Join(device.begun, ","); got != "application/a 1,application/a true" {
		t.Errorf("begun: %s", got)
	}
}

// TestImport: an archive of any length arrives whole, and a refusal with its
// reason.
func TestImport(t *testing.T) {
	archive := strings.Repeat("tar", 1<<20)
	s := start(t, Config{Import: func(_ context.Context, component string, r io.Reader, schema int, outside, privileged bool) (uint64, error) {
		got, err := io.ReadAll(r)
		if err != nil || string(got) != archive || component != "application/a" {
			return 0, fmt.Errorf("%d bytes for %s: %v", len(got), component, err)
		}
		if schema == 0 || !outside || !privileged {
			return 0, errNone
		}
		return 7, nil
	}})
	gen, err := ImportState(t.Context(), s.Control, "application/a", strings.NewReader(archive), 3, true, true)
	if err != nil || gen != 7 {
		t.Errorf("%d, %v", gen, err)
	}
	for _, c := range []struct{ outside, privileged bool }{{true, false}, {false, true}} {
		if _, err := ImportState(t.Context(), s.Control, "application/a", strings.NewReader(archive), 3, c.outside, c.privileged); err == nil || err.Error() != errNone.Error() {
			t.Errorf("%+v, refused: %v", c, err)
		}
	}
	if _, err := ImportState(t.Context(), s.Control, "application/a", strings.NewReader(archive), 0, true, true); err == nil || err.Error() != errNone.Error() {
		t.Errorf("refused: %v", err)
	}
}
