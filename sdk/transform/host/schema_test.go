package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/internal/wat"
)

const readingSchema = `{"type": "object", "required": ["value"], "properties": {"value": {"type": "number", "maximum": 100}}}`

func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../testdata/abi/echo/module.wat")
	must(t, err)
	module := filepath.Join(t.TempDir(), "echo.wasm")
	must(t, os.WriteFile(module, wat.Assemble(t, string(text)), 0o600))
	for name, test := range map[string]struct {
		format, schema, content string
		class                   Class
		reason                  string
	}{
		"fits":            {"json", readingSchema, `{"value": 21.5}`, "", ""},
		"wrong":           {"json", readingSchema, `{"value": "21.5"}`, Invalid, "at '/value': got string, want number"},
		"lines fit":       {"ndjson", readingSchema, "{\"value\": 1}\n\n{\"value\": 2}\n", "", ""},
		"a line is wrong": {"ndjson", readingSchema, "{\"value\": 1}\n{}\n", Invalid, "line 2: at '': missing property 'value'"},
		"no schema":       {"json", `{"type": 3}`, `{}`, BadModule, "schema"},
		"another file":    {"json", `{"$ref": "file:///etc/passwd"}`, `{}`, BadModule, "another document"},
		"another host":    {"json", `{"$ref": "http://127.0.0.1/s"}`, `{}`, BadModule, "another document"},
		"too long":        {"json", readingSchema, `{"value": 1, "note": "` + strings.Repeat("x", maxDocument) + `"}`, Invalid, "bytes cannot be held"},
		"too long a line": {"ndjson", readingSchema, `{"value": 1, "note": "` + strings.Repeat("x", maxDocument) + `"}`, Invalid, "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			step := Step{Module: module, Format: test.format, Schema: []byte(test.schema)}
			_, _, err := runOne(t, &Host{Cache: cache}, step, test.content)
			if test.class == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e := failed(t, err); e.Class != test.class || !strings.Contains(e.Reason, test.reason) || strings.Contains(e.Reason, "\n") {
				t.Errorf("got %v", e)
			}
		})
	}
}

// A schema whose members refer to it twice doubles the work with each level of
// the document: counting that takes no time, and it is refused.
func TestSchemaBomb(t *testing.T) {
	text, err := os.ReadFile("../testdata/abi/echo/module.wat")
	must(t, err)
	module := filepath.Join(t.TempDir(), "echo.wasm")
	must(t, os.WriteFile(module, wat.Assemble(t, string(text)), 0o600))
	nested := func(open, shut string, n int) string { return strings.Repeat(open, n) + "3" + strings.Repeat(shut, n) }
	for _, keyword := range []string{
		`{"properties": {"a": {"$ref": "#"}}}`, `{"patternProperties": {"^a": {"$ref": "#"}}}`, `{"additionalProperties": {"$ref": "#"}}`,
		`{"items": {"$ref": "#"}}`, `{"prefixItems": [{"$ref": "#"}]}`,
	} {
		schema := fmt.Sprintf(`{"allOf": [%s, %s]}`, keyword, keyword)
		document := nested(`{"a":`, "}", 2000)
		if strings.Contains(strings.ToLower(keyword), "items") {
			document = nested("[", "]", 2000)
		}
		_, _, err = runOne(t, &Host{Cache: cache}, Step{Module: module, Format: "json", Schema: []byte(schema)}, document)
		if e := failed(t, err); e.Class != Invalid || !strings.Contains(e.Reason, "more than 50000000 times") {
			t.Errorf("%s: got %v", keyword, e)
		}
	}
}

// A pattern that takes long for a long text is no bomb, but has an end, and the
// reason says that it was not the module.
func TestSchemaDeadline(t *testing.T) {
	text, err := os.ReadFile("../testdata/abi/echo/module.wat")
	must(t, err)
	module := filepath.Join(t.TempDir(), "echo.wasm")
	must(t, os.WriteFile(module, wat.Assemble(t, string(text)), 0o600))
	h := &Host{Cache: cache, Ceiling: Limits{CPU: 500 * time.Millisecond}}
	document := `"` + strings.Repeat("a", 3<<20) + `"`
	_, _, err = runOne(t, h, Step{Module: module, Format: "json", Schema: []byte(`{"pattern": "(a?){400}(a?){400}b$"}`)}, document)
	if e := failed(t, err); e.Class != Deadline || e.Reason != "more than 500ms of CPU time to hold it against its schema" {
		t.Errorf("got %v", e)
	}
}

// What describes a tree of any depth is no bomb, and its documents may be long.
func TestSchemaWork(t *testing.T) {
	schema, err := compileSchema([]byte(`{"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "names": {"items": {"type": "string"}}}, "additionalProperties": false}`))
	must(t, err)
	document := any(map[string]any{"names": slices.Repeat([]any{"a"}, 100_000)})
	for range 500 {
		document = map[string]any{"left": document, "right": map[string]any{}}
	}
	if err := boundWork(schema, document); err != nil {
		t.Error(err)
	}
	must(t, schema.Validate(document))
}

// What no document can be held against is refused when a package is built.
func TestSchemaReferences(t *testing.T) {
	chain := func(n int) string {
		schema := `{"$defs": {"0": {"type": "string"}`
		for i := 1; i <= n; i++ {
			below := fmt.Sprintf(`{"$ref": "#/$defs/%d"}`, i-1)
			schema += fmt.Sprintf(`, "%d": {"allOf": [%s, %s]}`, i, below, below)
		}
		return schema + fmt.Sprintf(`}, "properties": {"a": {"$ref": "#/$defs/%d"}}}`, n)
	}
	for name, test := range map[string]struct{ schema, want string }{
		"a tree":            {`{"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "items": {"$ref": "#"}}`, ""},
		"a few levels":      {chain(10), ""},
		"many levels":       {chain(29), "is held against more than 10000 schemas"},
		"itself":            {`{"$ref": "#"}`, "back to it for the same value"},
		"itself, later":     {`{"items": {"anyOf": [true, {"$ref": "#/items"}]}}`, "from #/items back to it"},
		"itself, in a ring": {`{"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}`, "back to it"},
		"itself, if it has": {`{"dependentSchemas": {"a": {"$ref": "#"}}}`, "back to it"},
	} {
		err := CheckSchema([]byte(test.schema))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// manyMembers is a schema of about so many bytes, for objects whose members
// are strings.
func manyMembers(size int) string {
	var b strings.Builder
	b.WriteString(`{"$defs": {"name": {"type": "string", "minLength": 1}}, "type": "object", "additionalProperties": false, "properties": {"m": true`)
	for n := 0; b.Len() < size-80; n++ {
		fmt.Fprintf(&b, `, "member%d": {"description": "the %d", "$ref": "#/$defs/name"}`, n, n)
	}
	return b.String() + "}}"
}

// A schema may be longer than an annotation of its package, and serves in the
// sandbox.
func TestLongSchema(t *testing.T) {
	schema := []byte(manyMembers(100 << 10))
	text, err := os.ReadFile("../testdata/abi/echo/module.wat")
	must(t, err)
	module := filepath.Join(t.TempDir(), "echo.wasm")
	must(t, os.WriteFile(module, wat.Assemble(t, string(text)), 0o600))
	step := Step{Module: module, Format: "json", Schema: schema}
	_, _, err = runOne(t, &Host{Cache: cache}, step, `{"member7": "x", "member9": "y"}`)
	must(t, err)
	_, _, err = runOne(t, &Host{Cache: cache}, step, `{"member7": 7}`)
	if e := failed(t, err); e.Class != Invalid || !strings.Contains(e.Reason, "got number, want string") {
		t.Errorf("got %v", e)
	}
}

// What would take long to compile is refused before that begins.
func TestTooLongASchema(t *testing.T) {
	padded := func(size int) []byte { return append(schemaOf(`{"a": {}}`), bytes.Repeat([]byte(" "), size)...) }
	for name, test := range map[string]struct {
		schema []byte
		want   string
	}{
		"bytes":       {padded(maxSchema), "bytes, more than 1048576"},
		"not so many": {padded(maxSchema - 100), ""},
		"objects":     {schemaOf(`{"b": {"enum": [` + strings.Repeat("{},", maxSubschemas) + `1]}}`), "schema has 20003 objects and boolean values, more than 20000"},
		"booleans":    {schemaOf(`{"b": {"enum": [` + strings.Repeat("true,", maxSubschemas) + `1]}}`), "more than 20000"},
	} {
		err := CheckSchema(test.schema)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// schemaOf returns a schema for the members of an object.
func schemaOf(members string) []byte { return []byte(`{"properties": ` + members + `}`) }

// Schema and result are from strangers: whatever they are, there is an answer,
// and the same one each time.
func FuzzSchema(f *testing.F) {
	for _, schema := range []string{
		readingSchema, "true", "false", "{", "[]", `{"$ref": "#"}`, `{"$ref": "#/$defs/a", "$defs": {"a": {"$dynamicRef": "#b", "$dynamicAnchor": "b"}}}`,
		`{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"$id": "#a"}}, "additionalItems": {"$ref": "#a"}}`,
		`{"anyOf": [{"not": {}}, {"if": true, "then": {"pattern": "(a|b)*c"}}], "unevaluatedProperties": false, "multipleOf": 0.1}`,
		`{"type": "array", "prefixItems": [{"format": "date-time"}], "contains": {"const": 1e400}, "minContains": 0, "uniqueItems": true}`,
		`{"patternProperties": {"^x": {"enum": [1, 1.0, "1"]}}, "dependentSchemas": {"a": {"required": ["b"]}}, "propertyNames": {"maxLength": 3}}`,
	} {
		f.Add(schema, `{"value": 1e3, "x": [1, 1.0, null]}`)
		f.Add(schema, "[\"2026-11-30T00:00:00Z\", 1e400]\n\n{}\n")
	}
	f.Fuzz(func(t *testing.T, schema, result string) {
		w, refused := newJudge(strings.NewReader(schema), "ndjson", nil)
		if refused.Class != "" {
			if refused.Class != BadModule || strings.Contains(refused.Reason, "\n") || CheckSchema([]byte(schema)) == nil {
				t.Errorf("got %+v", refused)
			}
			return
		}
		first := w.run(job{}, strings.NewReader(result), nil, nil)
		if first.Class != "" && (first.Class != Invalid || strings.Contains(first.Reason, "\n")) {
			t.Errorf("got %+v", first)
		}
		if again := w.run(job{}, strings.NewReader(result), nil, nil); again.Class != first.Class {
			t.Errorf("got %+v and %+v", first, again)
		}
	})
}
