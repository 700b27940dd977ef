package objects

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStates(t *testing.T) {
	var all []SavedState
	for n := range uint64(20) {
		got, err := DecodeStates(EncodeStates(all))
		if d := cmp.Diff(all[max(0, len(all)-maxStates):], got); err != nil || len(all) > 0 && d != "" {
			t.Errorf("%v\n%s", err, d)
		}
		all = append(all, SavedState{Generation: n + 1, Version: "1.0.0", Schema: 1, Saved: time.Unix(int64(n), 0).UTC(), Size: 5})
	}
	for _, bad := range []string{"{", "{}", "[1]", `[{},{},{},{},{},{},{},{},{}]`} {
		if _, err := DecodeStates(bad); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// FuzzDecodeStates: what is read is within bounds, and stays what it is.
func FuzzDecodeStates(f *testing.F) {
	f.Add(`[{"generation":4,"version":"1.0.0","schema":1,"savedAt":"2026-01-02T03:04:05Z","bytes":5}]`)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := DecodeStates(text)
		if err != nil {
			return
		}
		again, err := DecodeStates(EncodeStates(all))
		if err != nil || len(all) > 0 && !cmp.Equal(all, again) {
			t.Errorf("%v became %v, %v", all, again, err)
		}
	})
}
