package transform

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

type filterFunc = func(io.Reader, io.Writer, Edge) error

// outcome is what a filter writes, or why it does not.
func outcome(fn filterFunc, in string) string {
	var out strings.Builder
	if err := fn(strings.NewReader(in), &out, Edge{From: 1, To: 2, File: "f"}); err != nil {
		return err.Error()
	}
	return out.String()
}

// Of a file of lines one is in memory.
func TestLines(t *testing.T) {
	double := lines(func(n int, _ Edge) (any, error) {
		if n < 0 {
			return nil, Refuse("%d is below zero", n)
		}
		return []any{"<", 2 * n}, nil
	})
	for in, want := range map[string]string{
		"":              "",
		"1\n\n 2 \r\n3": "[\"<\",2]\n[\"<\",4]\n[\"<\",6]\n",
		"1\n-1\n":       "state refused: -1 is below zero",
		"1\n\n{\n":      "state refused: f, line 3, is not the JSON of schema 1: it ends in the middle",
		"1\n2 3\n":      "state refused: f, line 2, is not the JSON of schema 1: something follows the document",
		"\ufeff1\n":     "state refused: f, line 1, is not the JSON of schema 1: it begins with a byte order mark, which JSON never has",
		"1\n\"x\"\n":    "state refused: f, line 2, is not the JSON of schema 1: json: cannot unmarshal string into Go value of type int",
		strings.Repeat(" ", 2*bufferSize) + "4\n": "[\"<\",8]\n",
	} {
		if got := outcome(double, in); got != want {
			t.Errorf("%.80q: got %q, want %q", in, got, want)
		}
	}
}

// What is not in the list keeps its digits, its order and its place.
func TestEach(t *testing.T) {
	celsius := func(old struct {
		C json.Number `json:"c"`
	}, e Edge,
	) (any, error) {
		if old.C == "" {
			return nil, Refuse("there is no c")
		}
		return map[string]json.Number{"celsius": old.C}, nil
	}
	for _, test := range []struct{ pointer, in, want string }{
		{"", `[{"c":1.50},{"c":2}] `, `[{"celsius":1.50},{"celsius":2}]`},
		{"", `{"b":{"c":1},"a":{"c":2}}`, `{"b":{"celsius":1},"a":{"celsius":2}}`},
		{"", `[]`, `[]`},
		{"/a~1b/1", "{\"z<\": [1e400, null, \"x\"],\n\"a/b\": [7, [{\"c\":3}], true]}\r\n", `{"z<":[1e400, null, "x"],"a/b":[7,[{"celsius":3}],true]}`},
		{"/a", `{"b":1}`, `state refused: f has no list and no object at "/a"`},
		{"/a", `{"a":1}`, `state refused: f has no list and no object at "/a"`},
		{"/a/b", `{"a":1}`, `state refused: f has no list and no object at "/a/b"`},
		{"/a", `{"a":[{"d":1}]}`, `state refused: f is not the JSON of schema 1: json: unknown field "d"`},
		{"/a", `{"a":[{}]}`, "state refused: there is no c"},
		{"/a", `{"a":[],"a":[{"c":1}]}`, `state refused: f is not the JSON of schema 1: there are two members "a" in one object`},
		{"/a", `{"a":[{"c":1}`, "state refused: f is not the JSON of schema 1: it ends in the middle"},
		{"/a", `{"a":[{"c":1}]} 2`, "state refused: f is not the JSON of schema 1: something follows the document"},
		{"", "", "state refused: f is not the JSON of schema 1: there is nothing in it"},
		{"a", "{}", `the pointer "a" does not begin with /`},
	} {
		if got := strings.TrimSuffix(outcome(each(test.pointer, celsius), test.in), "\n"); got != test.want {
			t.Errorf("%q of %s: got %s, want %s", test.pointer, test.in, got, test.want)
		}
	}
	refused := each("", celsius)(strings.NewReader("[{}]"), io.Discard, Edge{})
	if !errors.Is(refused, ErrRefused) {
		t.Error(refused)
	}
}

// Each is JSON, element by element: both make the same of a document.
func FuzzEach(f *testing.F) {
	f.Add(`[1,{"a":[]},"x"]`)
	f.Add(`{"a":1e999,"b":{}}`)
	f.Add("[1,\x00]")
	f.Fuzz(func(t *testing.T, in string) {
		streamed := outcome(each("", func(v any, _ Edge) (any, error) { return []any{v}, nil }), in)
		whole := outcome(document(func(doc any, _ Edge) (any, error) {
			switch doc := doc.(type) {
			case []any:
				for i := range doc {
					doc[i] = []any{doc[i]}
				}
				return doc, nil
			case map[string]any:
				for name := range doc {
					doc[name] = []any{doc[name]}
				}
				return doc, nil
			}
			return nil, Refuse("no list")
		}), in)
		if strings.HasPrefix(streamed, "state refused") || strings.HasPrefix(whole, "state refused") {
			if strings.HasPrefix(streamed, "state refused") != strings.HasPrefix(whole, "state refused") {
				t.Errorf("%q: %s, but %s", in, streamed, whole)
			}
			return
		}
		var a, b any
		if err := errors.Join(json.Unmarshal([]byte(streamed), &a), json.Unmarshal([]byte(whole), &b)); err == nil {
			one, _ := json.Marshal(a)
			two, _ := json.Marshal(b)
			if string(one) != string(two) {
				t.Errorf("%q: %s, but %s", in, streamed, whole)
			}
		}
	})
}
