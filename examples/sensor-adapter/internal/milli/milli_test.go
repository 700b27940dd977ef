package milli

import (
	"encoding/json"
	"testing"
)

func TestDegreesInJSON(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Degrees
		out  string
	}{
		{"21.500", 21500, "21.500"},
		{"21.5", 21500, "21.500"},
		{"0", 0, "0.000"},
		{"-0.250", -250, "-0.250"},
		{"-12.001", -12001, "-12.001"},
		{"294.65", 294650, "294.650"},
	} {
		var got Degrees
		if err := json.Unmarshal([]byte(c.in), &got); err != nil || got != c.want {
			t.Errorf("%s: got %d, %v; want %d", c.in, got, err, c.want)
		}
		if out, _ := json.Marshal(got); string(out) != c.out {
			t.Errorf("%s: written as %s, want %s", c.in, out, c.out)
		}
	}
	for _, bad := range []string{`"21.5"`, "21.5001", "2e3", "null", "-", "."} {
		var d Degrees
		if err := d.UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s: accepted as %s", bad, d)
		}
	}
}

func FuzzDegrees(f *testing.F) {
	for _, s := range []string{"21.500", "-0.250", "0", "1.2345", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d, again Degrees
		if d.UnmarshalJSON([]byte(s)) != nil {
			return
		}
		b, _ := d.MarshalJSON()
		if err := again.UnmarshalJSON(b); err != nil || again != d {
			t.Errorf("%q became %s became %d, %v", s, b, again, err)
		}
	})
}
