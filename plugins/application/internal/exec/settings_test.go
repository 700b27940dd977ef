package exec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBadSettings(t *testing.T) {
	for settings, want := range map[string]string{
		``:                                     "EOF",
		`[]`:                                   "cannot unmarshal",
		`{}`:                                   "command is empty",
		`{"command":[]}`:                       "command is empty",
		`{"command":[""]}`:                     "command is empty",
		`{"command":["a\u0000"]}`:              "zero byte",
		`{"command":["a"]} {}`:                 "something follows",
		`{"command":["a"],"comand":"b"}`:       `unknown field "comand"`,
		`{"command":["a"],"state":"no"}`:       `state is "no"`,
		`{"command":["a"],"grace":"-1s"}`:      "grace is negative",
		`{"command":["a"],"grace":"soon"}`:     "invalid duration",
		`{"command":["a"],"env":{"A=B":""}}`:   "no valid variable",
		`{"command":["a"],"state":"commands"}`: "go together",
		`{"command":["a"],"commands":{"save":["s"],"apply":["a"]}}`:                   "go together",
		`{"command":["a"],"state":"commands","commands":{"save":["s"]}}`:              "commands.apply is empty",
		`{"command":["a"],"state":"commands","commands":{"save":["s"],"aply":["a"]}}`: `unknown field "aply"`,
		`{"command":["a"],"env":{"TRANQUIL_STATE":"/"}}`:                              "reserved",
		`{"command":["a"],"health":{"http":"/","file":"b"}}`:                          "several kinds",
		`{"command":["a"],"health":{"http":"v1"}}`:                                    "neither a path nor",
		`{"command":["a"],"health":{"http":"ftp://x/"}}`:                              "neither a path nor",
		`{"command":["a"],"health":{"command":[]}}`:                                   "health.command is empty",
		`{"command":["a"],"health":{"file":"../b"}}`:                                  "not a path within",
		`{"command":["a"],"health":{"file":"b","command":["true"]}}`:                  "several kinds",
	} {
		_, err := parseSettings([]byte(settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", settings, err, want)
		}
	}
}

// FuzzSettings: whatever is accepted is kept when it is written and read again,
// as it is in version.json.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"command":["./a","-b"],"env":{"K":"V"},"state":"handover","health":{"http":"/v1/health"},"grace":"5s"}`))
	f.Add([]byte(`{"command":["sh"],"health":{"file":"a/b"}}`))
	f.Add([]byte(`{"command":["sh"],"health":{"command":["true"]}}`))
	f.Add([]byte(`{"command":["sh"],"state":"commands","commands":{"save":["./s"],"apply":["./a","-x"],"running":true}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := parseSettings(data)
		if err != nil {
			return
		}
		written, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := parseSettings(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		again, err := json.Marshal(second)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(written), string(again)); d != "" {
			t.Error(d)
		}
	})
}
