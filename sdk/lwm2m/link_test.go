package lwm2m

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLinks(t *testing.T) {
	tests := []struct {
		in   string
		want []Link
		out  string // "" if the same as in
	}{
		{in: "", want: nil},
		{in: `</>;ct="110 112 11542";rt="oma.lwm2m",</1/0>,</3303>;ver=1.1`, want: []Link{
			{"/", map[string]string{"rt": "oma.lwm2m", "ct": "110 112 11542"}},
			{Target: "/1/0"},
			{"/3303", map[string]string{"ver": "1.1"}},
		}},
		{in: ` </3/0> ; pmin = 5 , </a>;x="\"\\,;>"`, want: []Link{
			{"/3/0", map[string]string{"pmin": "5"}}, {"/a", map[string]string{"x": `"\,;>`}},
		}, out: `</3/0>;pmin=5,</a>;x="\"\\,;>"`},
		{in: "</3>;obs", want: []Link{{"/3", map[string]string{"obs": ""}}}},
	}
	for _, tt := range tests {
		got, err := DecodeLinks([]byte(tt.in))
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", tt.in, err, diff)
		}
		if tt.out == "" {
			tt.out = tt.in
		}
		if out := string(EncodeLinks(got)); out != tt.out {
			t.Errorf("encoded %q, want %q", out, tt.out)
		}
	}
	for _, in := range []string{"x", "<", "</3", "</3>,", "</3>;", `</3>;a="`, "</3> </4>", "</3>;=1", "</<>"} {
		if got, err := DecodeLinks([]byte(in)); err == nil {
			t.Errorf("DecodeLinks(%q) = %v, want an error", in, got)
		}
	}
}

func TestLinkPath(t *testing.T) {
	tests := []struct{ target, root, want string }{
		{"/3/0", "", "/3/0"},
		{"/lwm2m/3/0", "/lwm2m", "/3/0"},
		{"/lwm2m/", "lwm2m", "/"},
		{"/lwm2m", "lwm2m", "/"},
		{"/lwm2m2/3", "lwm2m", ""},
		{"/3/0", "lwm2m", ""},
		{"/.well-known/core", "", ""},
	}
	for _, tt := range tests {
		p, err := Link{Target: tt.target}.Path(tt.root)
		if (err != nil) != (tt.want == "") || err == nil && p.String() != tt.want {
			t.Errorf("%q under %q: %v, %v, want %q", tt.target, tt.root, p, err, tt.want)
		}
	}
}

func FuzzLinks(f *testing.F) {
	f.Add([]byte(`</>;ct="110 112 11542";rt="oma.lwm2m",</1/0>,</3303>;ver=1.1`))
	f.Add([]byte(` </3/0> ; pmin = 5 , </a>;x="\"\\,;>"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		links, err := DecodeLinks(b)
		if err != nil {
			return
		}
		again, err := DecodeLinks(EncodeLinks(links))
		if err != nil {
			t.Fatalf("cannot decode %q, which was encoded", EncodeLinks(links))
		}
		if diff := cmp.Diff(links, again); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}
