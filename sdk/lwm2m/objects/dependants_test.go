package objects

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDependants(t *testing.T) {
	terms := map[string]string{}
	for n := range 40 {
		if got, err := DecodeDependants(EncodeDependants(terms)); err != nil || len(got) != min(n, maxDependants+1) {
			t.Errorf("of %d arrive %v, %v", n, got, err)
		}
		terms[fmt.Sprintf("application/%02d", n)] = "stop"
	}
	if text := EncodeDependants(map[string]string{"application/reader": "stop"}); text != `{"application/reader":"stop"}` {
		t.Error(text)
	}
	for _, bad := range []string{"{", "[]", `{"a": 1}`, fmt.Sprintf(`{"a": "%0200d"}`, 1)} {
		if _, err := DecodeDependants(bad); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// FuzzDecodeDependants: what is read is within bounds, and stays what it is.
func FuzzDecodeDependants(f *testing.F) {
	f.Add(`{"application/reader":"stop"}`)
	f.Fuzz(func(t *testing.T, text string) {
		terms, err := DecodeDependants(text)
		if err != nil {
			return
		}
		if len(terms) <= maxDependants {
			again, err := DecodeDependants(EncodeDependants(terms))
			if err != nil || len(terms) > 0 && !cmp.Equal(terms, again) {
				t.Errorf("%v became %v, %v", terms, again, err)
			}
		}
	})
}
