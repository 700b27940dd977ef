package jsonpatch

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

func TestMain(m *testing.M) { transformtest.Main(m) }

func apply(doc, patch string) (string, error) {
	var out bytes.Buffer
	e := transform.Edge{From: 1, To: 2, Params: map[string]string{"patch": patch}}
	err := Filter(strings.NewReader(doc), &out, e)
	return strings.TrimSpace(out.String()), err
}

// From RFC 6902 appendix A, and what it leaves out.
func TestPatch(t *testing.T) {
	for name, test := range map[string]struct{ doc, patch, want string }{
		"A.1 add member":     {`{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux"}]`, `{"baz":"qux","foo":"bar"}`},
		"A.2 add element":    {`{"foo":["bar","baz"]}`, `[{"op":"add","path":"/foo/1","value":"qux"}]`, `{"foo":["bar","qux","baz"]}`},
		"A.3 remove member":  {`{"baz":"qux","foo":"bar"}`, `[{"op":"remove","path":"/baz"}]`, `{"foo":"bar"}`},
		"A.4 remove element": {`{"foo":["bar","qux","baz"]}`, `[{"op":"remove","path":"/foo/1"}]`, `{"foo":["bar","baz"]}`},
		"A.5 replace":        {`{"baz":"qux"}`, `[{"op":"replace","path":"/baz","value":"boo"}]`, `{"baz":"boo"}`},
		"A.6 move": {
			`{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}`, `[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]`,
			`{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}`,
		},
		"A.7 move element":  {`{"foo":["all","grass","cows","eat"]}`, `[{"op":"move","from":"/foo/1","path":"/foo/3"}]`, `{"foo":["all","cows","eat","grass"]}`},
		"A.8 test":          {`{"baz":"qux","foo":["a",2,"c"]}`, `[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2.0}]`, `{"baz":"qux","foo":["a",2,"c"]}`},
		"A.10 add nested":   {`{"foo":"bar"}`, `[{"op":"add","path":"/child","value":{"grandchild":{}}}]`, `{"child":{"grandchild":{}},"foo":"bar"}`},
		"A.11 more members": {`{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux","xyz":123}]`, `{"baz":"qux","foo":"bar"}`},
		"A.14 escapes":      {`{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":10}]`, `{"/":9,"~1":10}`},
		"A.16 append":       {`{"foo":["bar"]}`, `[{"op":"add","path":"/foo/-","value":["abc","def"]}]`, `{"foo":["bar",["abc","def"]]}`},
		"copy is deep":      {`{"a":{"b":1}}`, `[{"op":"copy","from":"/a","path":"/c"},{"op":"remove","path":"/a/b"}]`, `{"a":{},"c":{"b":1}}`},
		"value is fresh":    {`{}`, `[{"op":"add","path":"","value":{"a":[]}},{"op":"add","path":"/a/-","value":1}]`, `{"a":[1]}`},
		"null":              {`{"a":1}`, `[{"op":"replace","path":"/a","value":null},{"op":"test","path":"/a","value":null}]`, `{"a":null}`},
		"digits stay":       {`{"a":12345678901234567890.10}`, `[]`, `{"a":12345678901234567890.10}`},
		"html stays":        {`{"a":"<&>"}`, `[]`, `{"a":"<&>"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := apply(test.doc, test.patch)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// From RFC 7386 appendix A.
func TestMerge(t *testing.T) {
	for _, test := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1.50}`, `{"a":1.50,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var out bytes.Buffer
		err := Filter(strings.NewReader(test[0]), &out, transform.Edge{Params: map[string]string{"merge": test[1]}})
		if got := strings.TrimSpace(out.String()); err != nil || got != test[2] {
			t.Errorf("%s merged with %s: got %s, %v, want %s", test[0], test[1], got, err, test[2])
		}
	}
	err := Filter(strings.NewReader("{}"), &bytes.Buffer{}, transform.Edge{Params: map[string]string{"merge": "{}", "patch": "[]"}})
	if err == nil {
		t.Error("two patches at once")
	}
}

func TestPatchRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		doc, patch string
		refused    bool // the state, as against the patch
	}{
		"A.9 test fails":      {`{"baz":"qux"}`, `[{"op":"test","path":"/baz","value":"bar"}]`, true},
		"A.12 no parent":      {`{"foo":"bar"}`, `[{"op":"add","path":"/baz/bat","value":"qux"}]`, true},
		"A.15 another type":   {`{"a":10}`, `[{"op":"test","path":"/a","value":"10"}]`, true},
		"remove what is not":  {`{}`, `[{"op":"remove","path":"/a"}]`, true},
		"replace what is not": {`{}`, `[{"op":"replace","path":"/a","value":1}]`, true},
		"beyond the end":      {`[1]`, `[{"op":"add","path":"/2","value":1}]`, true},
		"leading zero":        {`[1,2]`, `[{"op":"remove","path":"/01"}]`, true},
		"no document":         {``, `[]`, true},
		"two documents":       {`{} {}`, `[]`, true},
		"a name twice":        {`{"a":1,"a":2}`, `[]`, true},
		"no UTF-8":            {"\"\xff\"", `[]`, true},
		"no patch":            {`{}`, ``, false},
		"unknown op":          {`{}`, `[{"op":"spam","path":""}]`, false},
		"no value":            {`{}`, `[{"op":"add","path":"/a"}]`, false},
		"no path":             {`{}`, `[{"op":"remove"}]`, false},
		"no pointer":          {`{}`, `[{"op":"remove","path":"a"}]`, false},
		"into itself":         {`{"a":{}}`, `[{"op":"move","from":"/a","path":"/a/b"}]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := apply(test.doc, test.patch)
			if err == nil || errors.Is(err, transform.ErrRefused) != test.refused {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// The module does the same in the sandbox as here.
func TestModule(t *testing.T) {
	module := transformtest.Build(t, "../cmd/jsonpatch")
	step := func(from, to int, format, patch string) host.Step {
		return host.Step{
			Module: module, From: from, To: to, Format: format,
			Files: []string{"*.json", "*.ndjson"}, Params: map[string]string{"patch": patch},
		}
	}
	up := `[{"op":"test","path":"/unit","value":"C"},{"op":"move","from":"/value","path":"/celsius"},{"op":"remove","path":"/unit"}]`
	down := `[{"op":"move","from":"/celsius","path":"/value"},{"op":"add","path":"/unit","value":"C"}]`
	for _, format := range []string{"json", "ndjson"} {
		transformtest.Golden(t, "testdata/"+format, step(1, 2, format, up))
		back, err := transformtest.Run(t, "testdata/"+format+"/old", step(1, 2, format, up), step(2, 1, format, down))
		if err != nil {
			t.Fatal(err)
		}
		transformtest.Same(t, "testdata/"+format+"/old", back)
	}
	_, err := transformtest.Run(t, "testdata/json/new", step(1, 2, "json", up))
	var e *host.Error
	if !errors.As(err, &e) || e.Class != host.Refused {
		t.Errorf("a state that is new already: %v", err)
	}
}

func FuzzPatch(f *testing.F) {
	f.Add(`{"a":[1,{"b":null}]}`, `[{"op":"move","from":"/a/0","path":"/c"},{"op":"copy","from":"/a","path":"/a/0/d"}]`)
	f.Add(`[1]`, `[{"op":"add","path":"/-","value":1},{"op":"remove","path":""},{"op":"test","path":"","value":null}]`)
	f.Fuzz(func(t *testing.T, doc, patch string) {
		if out, err := apply(doc, patch); err == nil {
			if _, err := decode([]byte(out)); err != nil {
				t.Errorf("the result %q is no JSON: %v", out, err)
			}
		}
	})
}
