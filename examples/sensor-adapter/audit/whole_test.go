package audit

import (
	"path/filepath"
	"slices"
	"testing"
)

// The same state in two schemas is the same; what is lost or altered is named.
func TestWhole(t *testing.T) {
	rows := map[string]string{
		"history/000001.json": rowsOf2,
		"calibration.json":    `{"sensor":"SIM-1","offset":0.150}`,
	}
	for _, c := range []struct {
		name          string
		after         map[string]string
		lost, altered []string
	}{
		{"other schema, grown", map[string]string{
			"history/000001.json": `{"unit":"K","first":1,"kelvin":[294.300,272.900,280.000],"time":[1795334400005,1795334400105,1795334400205]}`,
			"calibration.json":    `{"sensor":"SIM-1","bias":0.150}`,
		}, nil, nil},
		{"reading altered", map[string]string{
			"history/000001.json": `{"unit":"K","first":1,"kelvin":[294.300,272.901],"time":[1795334400005,1795334400105]}`,
			"calibration.json":    `{"sensor":"SIM-1","bias":0.150}`,
		}, nil, []string{"history/000001.json"}},
		{"calibration altered", map[string]string{"history/000001.json": rowsOf2, "calibration.json": `{"sensor":"SIM-1"}`}, nil, []string{"calibration.json"}},
		{"calibration lost", map[string]string{"history/000001.json": rowsOf2}, []string{"calibration.json"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			lost, altered := all(t, c.after).Since(all(t, rows))
			if !slices.Equal(lost, c.lost) || !slices.Equal(altered, c.altered) {
				t.Errorf("lost %q, altered %q", lost, altered)
			}
		})
	}
}

func TestWholeKnowsEachFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "history/000001.json"), rowsOf2)
	write(t, filepath.Join(dir, "other.json"), "{}")
	if _, err := All(dir); err == nil {
		t.Error("a file that does not belong to the state went unseen")
	}
}

func all(t *testing.T, files map[string]string) Whole {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	w, err := All(dir)
	if err != nil {
		t.Fatal(err)
	}
	return w
}
