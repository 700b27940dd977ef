package transform

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Nothing of a document is lost without a word.
func TestDecode(t *testing.T) {
	var many strings.Builder
	for i := range 40 {
		fmt.Fprintf(&many, `"%d":0,`, i)
	}
	for text, want := range map[string]string{
		` {"a":[1e400,{"a":"\ud83d\ude00 \" \\ud800"},{"a":0}],"b":{"a":{}},"A":",:{"} `: "",
		``:                                 "there is nothing in it",
		` `:                                "there is nothing in it",
		`{"a":1`:                           "it ends in the middle",
		"\ufeff{}":                         "it begins with a byte order mark, which JSON never has",
		`{} 1`:                             "something follows the document",
		`{"a":1,"b":{"c":[],"a":0,"c":1}}`: `there are two members "c" in one object`,
		`[{"a":[{"a":0}],"\u0061":1}]`:     `there are two members "a" in one object`,
		"{" + many.String() + `"39":0}`:    `there are two members "39" in one object`,
		"{" + many.String() + `"40":0}`:    "",
		`["\ud800"]`:                       `the text "\ud800"… has half of a surrogate pair`,
		`{"\udc00\ud800":1}`:               `the text "\udc00\ud800"… has half of a surrogate pair`,
		`["\ud800\u0041"]`:                 `the text "\ud800\u0041"… has half of a surrogate pair`,
		"[\"\xff\"]":                       "it is no UTF-8",
	} {
		var doc any
		got := ""
		if err := Decode([]byte(text), &doc); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.80q: got %s, want %s", text, got, want)
		}
	}
	var known struct{ A int }
	if err := Decode([]byte(`{"a":1,"b":2}`), &known); err == nil || !strings.Contains(err.Error(), `unknown field "b"`) {
		t.Errorf("a member that has no field: %v", err)
	}
}

// A name that Go would take for another one is no name of a member.
func TestDecodeExactly(t *testing.T) {
	type inner struct {
		Name string         `json:"name"`
		Free map[string]any `json:"free"`
		Own  *inner         `json:"own,omitempty"`
	}
	type outer struct {
		inner
		Untagged int
		List     []inner          `json:"list"`
		ByKey    map[string]inner `json:"byKey"`
		When     time.Time        `json:"when"`
		Any      any              `json:"any"`
		Raw      json.RawMessage  `json:"raw"`
		Left     string           `json:"-"`
	}
	for text, want := range map[string]string{
		`{"name":"a","Untagged":1,"list":[{"name":"b"},{"own":{"name":"c"}}],"byKey":{"Name":{"name":"d"},"NAME":{}},"free":{"Name":1,"name":[{"NAME":2}]},"any":{"Name":[{"x":1}]},"raw":{"List":{"LIST":1}},"when":"2026-11-30T00:00:00Z"}`: "",
		`{"name":"a","NAME":"b"}`:                                 `"name" is not written "NAME"`,
		`{"untagged":1}`:                                          `"Untagged" is not written "untagged"`,
		`{"list":[{"name":"a"},{"Name":"b"}]}`:                    `"name" is not written "Name"`,
		`{"list":[{"own":{"own":{"oWn":null}}}]}`:                 `"own" is not written "oWn"`,
		`{"byKey":{"name":{"free":{}},"x":{"free":{},"Own":{}}}}`: `"own" is not written "Own"`,
		`{"any":[{"List":1}],"lisT":[]}`:                          `"list" is not written "lisT"`,
	} {
		err := Decode([]byte(text), new(outer))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// Whatever is accepted says the same when it is written again.
func FuzzDecode(f *testing.F) {
	f.Add(`{"a":[1,{"\u0062":"\ud83d\ude00"}],"b":null}`)
	f.Add(`{"a":1,"a":2}`)
	f.Add("[\"\\ud800\xff\"]")
	f.Fuzz(func(t *testing.T, text string) {
		var doc, again any
		if Decode([]byte(text), &doc) != nil {
			return
		}
		one, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(one, &again); err != nil {
			t.Fatalf("%q became %q: %v", text, one, err)
		}
		if strings.Count(string(one), "\ufffd") > strings.Count(text, "\ufffd")+strings.Count(strings.ToLower(text), `\ufffd`) {
			t.Errorf("%q became %q", text, one)
		}
	})
}
