package twin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

var now = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func decode(t testing.TB, text string) map[string]any {
	t.Helper()
	object, err := twin.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return object
}

func encode(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMerge(t *testing.T) {
	for _, test := range []struct{ name, old, patch, want string }{
		{"new key", `{}`, `{"a":1}`, `{"a":1}`},
		{"replaces", `{"a":1}`, `{"a":"x"}`, `{"a":"x"}`},
		{"deletes", `{"a":1,"b":2}`, `{"a":null}`, `{"b":2}`},
		{"deletes what is not there", `{}`, `{"a":null}`, `{}`},
		{"merges objects", `{"a":{"b":1,"c":2}}`, `{"a":{"c":3,"d":4}}`, `{"a":{"b":1,"c":3,"d":4}}`},
		{"object replaces scalar", `{"a":1}`, `{"a":{"b":2}}`, `{"a":{"b":2}}`},
		{"nulls in a new object go", `{}`, `{"a":{"b":null,"c":1}}`, `{"a":{"c":1}}`},
		{"empty object stays", `{"a":{"b":1}}`, `{"a":{"b":null}}`, `{"a":{}}`},
		{"arrays replace", `{"a":[1,2]}`, `{"a":[3]}`, `{"a":[3]}`},
		{"numbers stay as written", `{}`, `{"a":1.50}`, `{"a":1.50}`},
		{"the hub's keys are ignored", `{}`, `{"a":1,"$version":9,"$metadata":{}}`, `{"a":1}`},
		{"slash is allowed", `{}`, `{"/3/0/9":5}`, `{"/3/0/9":5}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := twin.New("d", now).Twin
			before, _, err := before.Apply(twin.Patch{Reported: decode(t, test.old)}, now)
			if err != nil {
				t.Fatal(err)
			}
			kept := encode(t, before)
			after, change, err := before.Apply(twin.Patch{Reported: decode(t, test.patch)}, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decode(t, test.want), after.Reported.Values); diff != "" {
				t.Error(diff)
			}
			if after.Reported.Version != 3 || change.Properties.Reported["$version"] != int64(3) {
				t.Errorf("version %d, told %v", after.Reported.Version, change.Properties.Reported["$version"])
			}
			if encode(t, before) != kept {
				t.Error("Apply changed its receiver")
			}
		})
	}
}

func TestVersions(t *testing.T) {
	d := twin.New("d", now).Twin
	d, change, err := d.Apply(twin.Patch{Tags: decode(t, `{"site":"x"}`), Desired: decode(t, `{"a":1}`)}, now)
	if err != nil {
		t.Fatal(err)
	}
	if d.Version != 2 || d.Revision != 2 || d.Desired.Version != 2 || d.Reported.Version != 1 {
		t.Errorf("after the back end's patch: %+v", d)
	}
	want := `{"version":2,"tags":{"site":"x"},"properties":{"desired":{"$version":2,"a":1}}}`
	if got := encode(t, change); got != want {
		t.Errorf("change %s", got)
	}
	d, _, err = d.Apply(twin.Patch{Reported: decode(t, `{"b":1}`)}, now)
	if err != nil {
		t.Fatal(err)
	}
	if d.Version != 3 || d.Revision != 2 || d.Desired.Version != 2 || d.Reported.Version != 2 {
		t.Errorf("after the device's patch: %+v", d)
	}
}

func TestMetadata(t *testing.T) {
	d := twin.New("d", now).Twin
	d, _, err := d.Apply(twin.Patch{Desired: decode(t, `{"a":{"b":1,"c":2},"d":3}`)}, now)
	if err != nil {
		t.Fatal(err)
	}
	d, _, err = d.Apply(twin.Patch{Desired: decode(t, `{"a":{"b":5},"d":null}`)}, now.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	old, young := `"$lastUpdated":"2026-11-22T08:00:00Z","$lastUpdatedVersion":2`, `"$lastUpdated":"2026-11-22T08:00:01Z","$lastUpdatedVersion":3`
	want := fmt.Sprintf(`{%[2]s,"a":{%[2]s,"b":{%[2]s},"c":{%[1]s}}}`, old, young)
	if got := encode(t, d.Desired.Metadata); got != want {
		t.Errorf("metadata %s\nwant %s", got, want)
	}
	if _, has := d.Reported.Metadata["$lastUpdatedVersion"]; has {
		t.Error("reported metadata has a version")
	}
}

func TestReplace(t *testing.T) {
	d := twin.New("d", now).Twin
	d, _, err := d.Apply(twin.Patch{Tags: decode(t, `{"x":1}`), Desired: decode(t, `{"a":{"b":1,"c":2},"d":3}`)}, now)
	if err != nil {
		t.Fatal(err)
	}
	patch := d.Replace(nil, decode(t, `{"a":{"c":2},"e":4,"$version":7}`))
	if got, want := encode(t, patch.Desired), `{"a":{"b":null,"c":2},"d":null,"e":4}`; got != want {
		t.Errorf("patch %s, want %s", got, want)
	}
	d, _, err = d.Apply(patch, now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := encode(t, d.Desired.Values), `{"a":{"c":2},"e":4}`; got != want {
		t.Errorf("desired %s, want %s", got, want)
	}
	if len(d.Tags) != 1 {
		t.Errorf("tags %v", d.Tags)
	}
}

func TestLimits(t *testing.T) {
	nested := func(levels int) string {
		return strings.Repeat(`{"a":`, levels) + `{"z":1}` + strings.Repeat(`}`, levels)
	}
	wide := func(keys int) string {
		var fields []string
		for i := range keys {
			fields = append(fields, fmt.Sprintf(`"%06d":"%s"`, i, strings.Repeat("x", 1018)))
		}
		return "{" + strings.Join(fields, ",") + "}"
	}
	for _, test := range []struct {
		name, patch string
		want        error
	}{
		{"depth 10", nested(10), nil},
		{"depth 11", nested(11), twin.ArgumentInvalid},
		{"32 KB", wide(32), nil},
		{"33 KB", wide(33), twin.TooLarge},
		{"dot", `{"a.b":1}`, twin.ArgumentInvalid},
		{"dollar", `{"a":{"$b":1}}`, twin.ArgumentInvalid},
		{"hash", `{"a#":1}`, twin.ArgumentInvalid},
		{"space", `{"a b":1}`, twin.ArgumentInvalid},
		{"control", `{"a\u0007":1}`, twin.ArgumentInvalid},
		{"empty key", `{"":1}`, twin.ArgumentInvalid},
		{"long key", `{"` + strings.Repeat("k", 1025) + `":1}`, twin.ArgumentInvalid},
		{"long string", `{"a":"` + strings.Repeat("s", 4097) + `"}`, twin.ArgumentInvalid},
		{"null in array", `{"a":[1,null]}`, twin.ArgumentInvalid},
		{"key in array", `{"a":[{"b.c":1}]}`, twin.ArgumentInvalid},
		{"deep array", `{"a":` + strings.Repeat("[", 12) + strings.Repeat("]", 12) + `}`, twin.ArgumentInvalid},
		{"largest integer", `{"a":4503599627370495}`, nil},
		{"too large", `{"a":4503599627370496}`, twin.ArgumentInvalid},
		{"smallest integer", `{"a":-4503599627370496}`, nil},
		{"too small", `{"a":-4503599627370497}`, twin.ArgumentInvalid},
		{"float", `{"a":1e300}`, nil},
		{"infinite", `{"a":1e999}`, twin.ArgumentInvalid},
		{"long number", `{"a":0.` + strings.Repeat("1", 100) + `}`, twin.ArgumentInvalid},
		{"many empty elements", `{"a":[` + strings.Repeat(`"",`, 33000) + `""]}`, twin.TooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := twin.New("d", now).Twin.Apply(twin.Patch{Reported: decode(t, test.patch)}, now)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestTagsAreSmaller(t *testing.T) {
	patch := map[string]any{}
	for i := range 9 {
		patch[fmt.Sprint(i)] = strings.Repeat("x", 1000)
	}
	if _, _, err := twin.New("d", now).Twin.Apply(twin.Patch{Tags: patch}, now); !errors.Is(err, twin.TooLarge) {
		t.Error(err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, text := range []string{``, ` `, `null`, `[]`, `1`, `{`, `{"a":}`, `{} {}`, `{}x`} {
		if got, err := twin.Decode([]byte(text)); !errors.Is(err, twin.Malformed) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func TestIDsAndKeys(t *testing.T) {
	for id, valid := range map[string]bool{
		"sensor-1": true, "a.b:c@d(e)*?!$',=_#+%": true, "": false, "a/b": false, "ä": false, "a b": false,
		strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "a\n": false,
	} {
		if err := twin.CheckID(id); (err == nil) != valid {
			t.Errorf("%q: %v", id, err)
		}
	}
	for key, valid := range map[string]bool{"AAAAAAAAAAAAAAAAAAAAAA==": true, "AAAA": false, "not base64!": false, "": false} {
		if err := twin.CheckKey(key); (err == nil) != valid {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// Whatever a device sends: what is accepted is within the limits, encodes, and a second time changes nothing but versions.
func FuzzApply(f *testing.F) {
	f.Add([]byte(`{}`), []byte(`{"a":{"b":null},"c":[1,{"d":"x"}]}`))
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"a":null}`))
	f.Add([]byte(`{"a":1}`), []byte(`{"a":{"$version":1}}`))
	f.Add([]byte(`{"a":-0}`), []byte(`{"b":1e5}`))
	f.Fuzz(func(t *testing.T, old, patch []byte) {
		d := twin.New("d", now).Twin
		for _, text := range [][]byte{old, patch, patch} {
			object, err := twin.Decode(text)
			if err != nil {
				return
			}
			before := d.Reported.Values
			d, _, err = d.Apply(twin.Patch{Reported: object}, now)
			if err != nil {
				return
			}
			encode(t, d)
			if d.Reported.Version == 4 && !cmp.Equal(before, d.Reported.Values) {
				t.Errorf("not idempotent: %s", cmp.Diff(before, d.Reported.Values))
			}
		}
	})
}
