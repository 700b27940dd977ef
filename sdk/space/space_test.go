package space

import (
	"math"
	"path/filepath"
	"testing"
)

func TestLeft(t *testing.T) {
	const gb = 1 << 30
	for name, test := range map[string]struct {
		bytes, inodes     uint64
		free              int64
		freeInodes        uint64
		reserve           int64
		wantBytes, wanted int64
	}{
		"the same share of the inodes": {100 * gb, 1000, 10 * gb, 300, 10 * gb, 0, 200},
		"no reserve":                   {100 * gb, 1000, 10 * gb, 300, 0, 10 * gb, 300},
		"less than the reserve":        {100 * gb, 1000, gb, 50, 10 * gb, -9 * gb, -50},
		"more than there is":           {gb, 1000, gb, 1000, math.MaxInt64 / 2, gb - math.MaxInt64/2, 0},
		"inodes are made as needed":    {gb, 0, gb, 0, gb / 2, gb / 2, math.MaxInt64},
		"nothing at all":               {0, 10, 0, 0, 0, 0, 0},
		"more inodes than fit":         {gb, math.MaxUint64, gb, math.MaxUint64, 0, gb, math.MaxInt64},
	} {
		got := left(test.bytes, test.inodes, test.free, test.freeInodes, test.reserve)
		if want := (Room{test.wantBytes, test.wanted}); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if r, err := Left(t.TempDir(), 0); err != nil || r.Bytes <= 0 || r.Files <= 0 {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := Left(filepath.Join(t.TempDir(), "none"), 0); err == nil {
		t.Error("a directory that is not there has room")
	}
}

func TestRoom(t *testing.T) {
	left := Room{100, 3}.Less(Room{60, 5})
	if got := left.Of(Room{50, 1}); got != (Room{40, 0}) {
		t.Errorf("got %v", got)
	}
	if got := left.Of(Room{Bytes: 7}); got != (Room{Bytes: 7}) {
		t.Errorf("got %v", got)
	}
}
