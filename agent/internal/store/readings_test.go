package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/component"
)

func TestReadings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s := open(t, dir)
	r := component.Reading{Component: name, Object: 3303, Value: 1, Time: time.Unix(1, 0).UTC()}
	other := r
	other.Instance = 1
	check(t, s.KeepReadings([]component.Reading{r, other}))
	r.Value = 2
	check(t, s.KeepReadings([]component.Reading{r}))
	s = reopen(t, s, dir)
	defer s.Close()
	got, err := s.Readings()
	if diff := cmp.Diff([]component.Reading{r, other}, got); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
	check(t, s.ForgetReadings("application/another"))
	check(t, s.ForgetReadings(name))
	if got, err := s.Readings(); err != nil || len(got) != 0 {
		t.Errorf("left: %+v, %v", got, err)
	}
}
