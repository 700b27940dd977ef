package exec

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

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

// TestStricter: what an earlier updater has accepted is handled by a stricter one, which
// would not stage it.
func TestStricter(t *testing.T) {
	r := newRig(t)
	const reserved = `,"env":{"TRANQUIL_OLD":"1"},"gone":true,"health":{"command":["true"],"file":"../b"}`
	if _, err := r.tryStage("1.0.0", `{"command":["sleep","1000"]`+reserved+`}`, nil); err == nil {
		t.Fatal("it is accepted")
	}
	old := r.stage("1.0.0", `{"command":["sleep","1000"]}`)
	note := r.glob(r.h.Path("versions", "*", "version.json"))[0]
	staged, err := os.ReadFile(note)
	r.must(err)
	r.must(os.WriteFile(note, bytes.Replace(staged, []byte(`"sleep","1000"]`), []byte(`"sleep","1000"]`+reserved), 1), 0o600))
	r.switchTo(old)
	r.start()
	if s := r.status(); !s.Running || s.Version != "1.0.0" || !r.probe().Healthy {
		t.Errorf("%+v, %+v", s, r.probe())
	}
	r.stop(time.Minute)
	r.save()
	r.switchTo(r.stage("2.0.0", settings("sleep", "")))
	r.switchTo(old)
	r.start()
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
