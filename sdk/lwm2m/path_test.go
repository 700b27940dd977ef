package lwm2m

import (
	"slices"
	"testing"
)

func TestParsePath(t *testing.T) {
	tests := []struct {
		in, want string // want "" means an error
	}{
		{"/", "/"},
		{"", "/"},
		{"/3", "/3"},
		{"3/0", "/3/0"},
		{"/3303/0/5700", "/3303/0/5700"},
		{"/3/0/6/65534", "/3/0/6/65534"},
		{"/3/0/6/65535", ""},
		{"/3/0/6/0/0", ""},
		{"/3//6", ""},
		{"/3/", ""},
		{"/03", ""},
		{"/-1", ""},
		{"/+1", ""},
		{"/a", ""},
		{"//3", ""},
	}
	for _, tt := range tests {
		p, err := ParsePath(tt.in)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("ParsePath(%q) = %v, want an error", tt.in, p)
		case tt.want != "" && (err != nil || p.String() != tt.want):
			t.Errorf("ParsePath(%q) = %v, %v, want %v", tt.in, p, err, tt.want)
		}
	}
}

func TestPathContains(t *testing.T) {
	instance := NewPath(3, 0)
	for p, want := range map[Path]bool{
		NewPath(3, 0): true, NewPath(3, 0, 1): true, NewPath(3): false, NewPath(3, 1): false, NewPath(4, 0, 1): false,
	} {
		if got := instance.Contains(p); got != want {
			t.Errorf("%v.Contains(%v) = %v", instance, p, got)
		}
	}
	if !(Path{}).Contains(instance) || !NewPath(3).Overlaps(instance) || !instance.Overlaps(NewPath(3)) {
		t.Error("the root contains everything, and containing is overlapping")
	}
}

func TestPathCompare(t *testing.T) {
	want := []Path{{}, NewPath(0, 5), NewPath(3), NewPath(3, 0), NewPath(3, 0, 1), NewPath(3, 1), NewPath(10)}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Path.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("sorted: %v, want %v", got, want)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/", "/3/0/1", "3303/0/5700/2", "/65535", "/1//2", "/00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		if err != nil {
			return
		}
		q, err := ParsePath(p.String())
		if err != nil || q != p {
			t.Errorf("%q gives %v, and that gives %v, %v", s, p, q, err)
		}
	})
}
