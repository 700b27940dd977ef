package transform

import (
	"bytes"
	"errors"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain is a transform as well, which says something.
func TestMain(m *testing.M) {
	if os.Getenv("STATE_FILE") == "said" {
		Filter(func(_ io.Reader, _ io.Writer, e Edge) error {
			log.Println("the way is", e.Way())
			return nil
		})
	}
	os.Exit(m.Run())
}

// In a log there is no time, which stands still.
func TestLog(t *testing.T) {
	cmd := exec.Command(os.Args[0], "1", "2", "said")
	cmd.Env = []string{"STATE_FILE=said"}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "the way is 1→2\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		fn   func(io.Reader, io.Writer, Edge) error
		code int
		out  string
		log  string
	}{
		"copies": {[]string{"t", "1", "2", "f"}, func(in io.Reader, out io.Writer, _ Edge) error {
			_, err := io.Copy(out, in)
			return err
		}, 0, "old", ""},
		"fails":   {[]string{"t", "1", "2"}, func(io.Reader, io.Writer, Edge) error { return errors.New("no") }, 1, "", "no\n"},
		"refuses": {[]string{"t", "1", "2"}, func(_ io.Reader, _ io.Writer, e Edge) error { return e.Unknown() }, 2, "", "state refused: this transform knows no way 1→2\n"},
		"usage":   {[]string{"t", "1"}, nil, 1, "", "usage: transform FROM TO [FILE] <old >new\n"},
		"schema":  {[]string{"t", "1", "x"}, nil, 1, "", "TO is not a schema number: strconv.Atoi: parsing \"x\": invalid syntax\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, log bytes.Buffer
			code := Exec(test.args, nil, strings.NewReader("old"), &out, &log, test.fn)
			if code != test.code || out.String() != test.out || log.String() != test.log {
				t.Errorf("got %d, %q, %q", code, out.String(), log.String())
			}
		})
	}
}

func TestParseEdge(t *testing.T) {
	env := []string{"STATE_FROM=1", "STATE_FORMAT=json", "PARAM_UNIT=a=b", "HOME=/"}
	got, err := parseEdge([]string{"transform", "1", "2", "deep/f.json"}, env)
	if err != nil {
		t.Fatal(err)
	}
	want := Edge{From: 1, To: 2, File: "deep/f.json", Format: "json", Params: map[string]string{"unit": "a=b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseEdge(f *testing.F) {
	f.Add("1", "2", "f", "PARAM_A=b")
	f.Fuzz(func(t *testing.T, from, to, file, pair string) {
		edge, err := parseEdge([]string{"transform", from, to, file}, []string{pair})
		if err == nil && edge.File != file {
			t.Errorf("file %q became %q", file, edge.File)
		}
	})
}

// What a transform of JSON does not touch keeps all its digits.
func TestDocument(t *testing.T) {
	same := document(func(state map[string]any, _ Edge) (map[string]any, error) { return state, nil })
	for in, want := range map[string]string{
		"{\"n\": [9007199254740993, 1e308, -0, 2.50]}\r\n": `{"n":[9007199254740993,1e308,-0,2.50]}` + "\n",
		"{} {}": "state refused: f is not the JSON of schema 1: something follows the document",
		"{":     "state refused: f is not the JSON of schema 1: it ends in the middle",
		"":      "state refused: f is not the JSON of schema 1: there is nothing in it",
		"[1]":   "state refused: f is not the JSON of schema 1: json: cannot unmarshal array into Go value of type map[string]interface {}",
	} {
		var out strings.Builder
		got := ""
		if err := same(strings.NewReader(in), &out, Edge{From: 1, To: 2, File: "f"}); err != nil {
			got = err.Error()
		} else {
			got = out.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
