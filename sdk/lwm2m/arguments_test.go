package lwm2m

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	for s, want := range map[string][]Argument{
		"":                nil,
		"5":               {{Digit: 5}},
		"2='10.3'":        {{2, "10.3"}},
		"7,0='https://x'": {{7, ""}, {0, "https://x"}},
		"0,1,2,3,4":       {{0, ""}, {1, ""}, {2, ""}, {3, ""}, {4, ""}},
	} {
		got, err := ParseArguments(s)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", s, err, diff)
		}
		if again, err := FormatArguments(want...); again != s || err != nil {
			t.Errorf("%q is written as %q, %v", s, again, err)
		}
	}
	for _, s := range []string{"x", "0=", "0='", "0='a'1", "0,", ",0", "10"} {
		if got, err := ParseArguments(s); err == nil {
			t.Errorf("%q: %v, want an error", s, got)
		}
	}
	for _, a := range []Argument{{Digit: 10}, {Digit: -1}, {Value: "it's"}} {
		if s, err := FormatArguments(a); err == nil {
			t.Errorf("%+v is written as %q", a, s)
		}
	}
}

func FuzzArguments(f *testing.F) {
	f.Add("0='once',3")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseArguments(s)
		if err != nil {
			return
		}
		again, err := FormatArguments(list...)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := ParseArguments(again); err != nil || !cmp.Equal(list, second) {
			t.Fatalf("%q became %q: %v", s, again, err)
		}
	})
}
