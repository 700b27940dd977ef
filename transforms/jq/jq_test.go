package jq

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

func run(program, format, in string) (string, error) {
	var out bytes.Buffer
	err := Filter(strings.NewReader(in), &out, transform.Edge{
		From: 1, To: 2, File: "a/b.json", Format: format, Params: map[string]string{"program": program},
	})
	return out.String(), err
}

func TestFilter(t *testing.T) {
	for name, test := range map[string]struct{ program, format, in, want string }{
		"rename":      {`{celsius: .value, at}`, "json", `{"value":1.50,"at":"x"}`, `{"at":"x","celsius":1.50}` + "\n"},
		"digits":      {`.`, "json", `[12345678901234567890.10, 1e400]`, "[12345678901234567890.10,1e400]\n"},
		"variables":   {`[$from, $to, $file]`, "json", `null`, `[1,2,"a/b.json"]` + "\n"},
		"lines":       {`select(.a > 1) | .a`, "ndjson", "{\"a\":1}\n{\"a\":2}\n\n{\"a\":3}", "2\n3\n"},
		"no lines":    {`.`, "ndjson", "", ""},
		"html":        {`.`, "json", `"<&>"`, "\"<&>\"\n"},
		"environment": {`[env, $ENV]`, "json", `0`, "[{},{}]\n"},
		"functions":   {`def k: . + 273150; map(k)`, "json", `[0,1]`, "[273150,273151]\n"},
	} {
		if got, err := run(test.program, test.format, test.in); err != nil || got != test.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, test.want)
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		program, in, want string
		refused           bool
	}{
		"no program":   {"", "{}", "the param program: it is missing", false},
		"bad program":  {"{", "{}", "the param program: ", false},
		"unknown name": {"nothing", "{}", "function not defined: nothing/0", false},
		"no JSON":      {".", "{", "it ends in the middle", true},
		"empty":        {".", "", "there is nothing in it", true},
		"mark":         {".", "\ufeff{}", "a byte order mark", true},
		"a name twice": {".", `{"a":1,"a":2}`, `two members "a"`, true},
		"surrogate":    {".", `"\ud800"`, "half of a surrogate pair", true},
		"two":          {".", "{} {}", "something follows", true},
		"none out":     {"empty", "{}", "emitted 0 values", true},
		"two out":      {".,.", "{}", "emitted 2 values", true},
		"error":        {`error("unit is " + .u)`, `{"u":"F"}`, "unit is F", true},
		"halt":         {"halt", "{}", "the program halted", true},
		"halt_error":   {`"no" | halt_error`, "{}", "no", true},
		"type":         {".a.b", `{"a":1}`, "expected an object", true},
		"now":          {"now", "{}", "a state transform has no now", true},
		"pow":          {"pow(.; 2)", "3", "a state transform has no pow", true},
		"input":        {"input", "{}", "is not allowed", false},
	} {
		_, err := run(test.program, "json", test.in)
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, transform.ErrRefused) != test.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhere: what cannot be read is named by line and column.
func TestWhere(t *testing.T) {
	for program, want := range map[string]string{
		".a | }":                   "line 1, column 6: ",
		".a = 1\n| .b = (2\n| .c]": "line 3, column 5: ",
		".a |":                     "line 1, column 5: ",
		"{a: ":                     "line 1, column 5: the program ends in the middle, after \"{a:\"",
		".a |\n":                   "line 2, column 1: the program ends in the middle, after \".a |\"",
		"{\"a\": \"\\q\"}":         "line 1, column ",
	} {
		if err := Check(map[string]string{"program": program}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", program, err, want)
		}
	}
}

// A call of what devices have not is refused before any state, wherever it is.
func TestCheckCalls(t *testing.T) {
	for program, want := range map[string]string{
		"now":                                  "it calls now/0",
		"if .a then .b else [pow(.; 2)] end":   "it calls pow/2",
		`{a: "\(1 | sin)"}`:                    "it calls sin/0",
		".[log] = 1":                           "it calls log/0",
		"def f: exp; .":                        "it calls exp/0",
		"reduce .[] as $x (0; . + ($x | tan))": "it calls tan/0",
		"try now catch 0":                      "it calls now/0",
		"def pow($a; $b): 1; pow(.; 2)":        "",
		"def f(now): now; f(1)":                "",
		".now | .pow":                          "",
		`{now: "now", "sin": .log}`:            "",
		"sqrt | floor | abs":                   "",
	} {
		err := Check(map[string]string{"program": program})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", program, err, want)
		}
	}
}
