package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// TestOneBadReading costs no other one; a server that is away has them all again.
func TestOneBadReading(t *testing.T) {
	var some []component.Reading
	for i := range 13 {
		some = append(some, component.Reading{Value: float64(i)})
	}
	away := errors.New("away")
	for name, test := range map[string]struct {
		bad  []float64
		away int // from this call on
		err  error
	}{
		"none": {nil, 1000, nil}, "one": {[]float64{5}, 1000, nil}, "some": {[]float64{0, 6, 12}, 1000, nil}, "away": {[]float64{5}, 3, away},
	} {
		var taken, refused []float64
		calls := 0
		err := inHalves(some, func(part []component.Reading) error {
			if calls++; calls >= test.away {
				return away
			}
			if slices.ContainsFunc(part, func(r component.Reading) bool { return slices.Contains(test.bad, r.Value) }) {
				return lwm2m.Errorf(lwm2m.CodeBadRequest, "a time is out of range")
			}
			for _, r := range part {
				taken = append(taken, r.Value)
			}
			return nil
		}, func(r component.Reading, _ error) { refused = append(refused, r.Value) })
		if !errors.Is(err, test.err) || test.err == nil && (!slices.Equal(refused, test.bad) || len(taken)+len(refused) != len(some) || !slices.IsSorted(taken)) {
			t.Errorf("%s: %v, taken %v, refused %v", name, err, taken, refused)
		}
	}
}
