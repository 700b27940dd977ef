package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

type recipe struct {
	Name     string         `toml:"name"`
	Version  string         `toml:"version"`
	Epoch    int            `toml:"epoch"`
	Lossy    bool           `toml:"lossy"`
	Rate     float64        `toml:"rate"`
	Wait     Duration       `toml:"wait"`
	Files    []string       `toml:"files"`
	Settings map[string]any `toml:"settings"`
	Probe    *struct {
		Deadline Duration `toml:"deadline"`
	} `toml:"probe"`
	Transforms []struct {
		Module string            `toml:"module"`
		Params map[string]string `toml:"params"`
		Limits struct {
			CPU    Duration `toml:"cpu"`
			Memory int64    `toml:"memory"`
		} `toml:"limits"`
		Line int `toml:"-"`
	} `toml:"transform"`
}

// Each mistake is told with its line and key, in words that do not take a
// programmer.
func TestMistakes(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"misspelt":         {"name = \"a\"\nverison = \"1\"", `line 2: unknown key "verison": did you mean "version"?`},
		"in a table":       {"[[transform]]\n[[transform]]\nmoduel = \"x\"", `line 3: transform 2: unknown key "moduel": did you mean "module"?`},
		"in one line":      {"[[transform]]\nlimits = { menory = 1 }", `line 2: transform 1 limits: unknown key "menory": did you mean "memory"?`},
		"elsewhere":        {"[[transform]]\ndeadline = \"1s\"", `line 2: transform 1: unknown key "deadline": it belongs in [probe]`},
		"in a list":        {"module = \"m\"", `line 1: unknown key "module": it belongs in [[transform]]`},
		"deep":             {"cpu = \"1s\"", `line 1: unknown key "cpu": it belongs in [transform.limits]`},
		"too late":         {"[probe]\nepoch = 1", `line 2: probe: unknown key "epoch": it belongs at the top of the file, before the first line in brackets`},
		"like nothing":     {"[probe]\nxyz = 1", `line 2: probe: unknown key "xyz": there are deadline`},
		"table":            {"[other]\nx = 1", `line 1: unknown key "other": there are name, version,`},
		"number for text":  {"version = 2", `line 1: version: 2 is a whole number; it takes text in quotes, as in "abc"`},
		"text for number":  {`epoch = "2"`, `line 1: epoch: "2" is text; it takes a whole number`},
		"not whole":        {"epoch = 1.5", `line 1: epoch: 1.5 is a number that is not whole; it takes a whole number`},
		"no bool":          {`lossy = "yes"`, `line 1: lossy: "yes" is text; it takes true or false`},
		"bool":             {"name = true", "line 1: name: true is no text, number or list; it takes text in quotes"},
		"one for a list":   {`files = "a"`, `line 1: files: "a" is text; it takes a list in square brackets, each text in quotes`},
		"in the list":      {"files = [\"a\", 1]", `line 1: files 2: 1 is a whole number; it takes text`},
		"in a map":         {"[[transform]]\nparams = { n = 1 }", `line 2: transform 1 params n: 1 is a whole number; it takes text`},
		"no table":         {"[name]", "line 1: name: is no table: it takes text"},
		"no tables":        {"[[files]]", "line 1: files: is no table: it takes a list in square brackets"},
		"below text":       {"name.first = \"a\"", "line 1: name: is no table: it takes text"},
		"single brackets":  {"[transform]\nmodule = \"m\"", "line 1: transform: write [[transform]], in double brackets: there may be several"},
		"double brackets":  {"[[probe]]", "line 1: probe: write [probe], in single brackets: there is one"},
		"list for table":   {"probe = []", "line 1: probe: this is a list; it takes a table"},
		"table for number": {"epoch = {}", "line 1: epoch: this is a table; it takes a whole number"},
		"date":             {"epoch = 2026-01-01", "line 1: epoch: 2026-01-01 is a date or time; it takes a whole number"},
		"no unit":          {`wait = "5"`, `line 1: wait: "5" is no duration: write numbers with their units, as in "500ms", "2s" or "1m30s"`},
		"number for time":  {"[[transform]]\nlimits.cpu = 5", `line 2: transform 1 limits cpu: 5 is a whole number; it takes a duration in quotes, with its units, as in "500ms"`},
		"soon":             {"\n[probe]\ndeadline = \"soon\"", `line 3: probe deadline: "soon" is no duration`},
		"no quotes":        {"name = greeter", "line 1: unexpected character 'g' at start of value: if greeter is text, put it in quotes: name = \"greeter\""},
		"dots":             {"\nversion = 2.0.0 # so", `line 2: expected newline but got '.': if 2.0.0 is text, put it in quotes: version = "2.0.0"`},
		"unit, no quotes":  {"wait = 5s", `if 5s is text, put it in quotes: wait = "5s"`},
		"no end":           {"epoch = 1\nname = \"a\nepoch = 2", "line 2, column 10: the closing quote is missing"},
		"half":             {"[probe", "line 1"},
		"given twice":      {"name = \"a\"\nname = \"b\"", "name"},
		"too large":        {"epoch = 99999999999999999999", "too large"},
		"several":          {"a = 1\n[probe]\nb = 2", "line 3: probe: unknown key \"b\""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("r.toml", []byte(test.text), &recipe{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			for line := range strings.Lines(errText(err)) {
				if !strings.HasPrefix(line, "r.toml") {
					t.Errorf("the file is not named: %s", line)
				}
			}
			for _, jargon := range []string{"struct", "settings.", "int64", "Go ", "U+"} {
				if strings.Contains(errText(err), jargon) {
					t.Errorf("%s is a word of programmers: %v", jargon, err)
				}
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.toml")
	text := "name = \"a\"\nfiles = [\n\"x\"]\nsettings.any.thing = [1, \"b\", {c = 2}]\nRate = 2\n[probe]\ndeadline = \"1m30s\"\n" +
		"[[transform]]\nmodule = \"m\"\n[[transform]]\nparams.a = \"b\"\n[transform.limits]\ncpu = \"2s\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := recipe{Version: "default"}
	f, err := Read(path, &r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != "default" || r.Rate != 2 || r.Probe.Deadline != Duration(90*time.Second) || r.Transforms[1].Limits.CPU != Duration(2*time.Second) {
		t.Errorf("read %+v", r)
	}
	for key, want := range map[string]bool{"name": true, "transform 2 limits cpu": true, "transform 1 limits": false, "version": false} {
		if f.Has(key) != want {
			t.Errorf("has %s: %v", key, !want)
		}
	}
	wrong := In("transform 2", errors.Join(In("limits", In("cpu", errors.New("no"))), In("module", errors.New("is missing"))))
	err = f.Place(errors.Join(wrong, In("version", errors.New("is missing")), errors.New("all wrong"), In("probe deadline", errors.New("long")), In("a", nil)))
	want := path + ", line 13: transform 2: limits: cpu: no\n" +
		path + ", line 10: transform 2: module: is missing\n" +
		path + ": version: is missing\n" +
		path + ": all wrong\n" +
		path + ", line 7: probe deadline: long"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if f.Place(nil) != nil {
		t.Error("nothing wrong is an error")
	}
	if _, err := Read(path+".gone", &r); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// What is out of range is shown with the range.
func TestRange(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{Bytes(1000, 64<<10, 1<<30), "1000 bytes is not between 65536 (64 KiB) and 1073741824 (1 GiB)"},
		{Bytes(-1, 0, 1<<40), "-1 bytes is not between 0 and 1099511627776 (1 TiB)"},
		{Bytes(1001, 1, 1000), "1001 bytes is not between 1 and 1000"},
		{Within(5, Duration(time.Millisecond), Duration(24*time.Hour)), "5ns is not between 1ms and 24h"},
		{Within(Duration(time.Hour), 0, Duration(90*time.Second)), "1h0m0s is not between 0s and 1m30s"},
		{errors.Join(Bytes(5, 5, 5), Within(1, 0, 1)), "<nil>"},
	} {
		if got := fmt.Sprint(test.err); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// Whatever stands in a file, what is read is what the decoder reads, and what
// is refused is refused in lines that name the file.
func FuzzParse(f *testing.F) {
	f.Add("name = \"a\"\n[[transform]]\nlimits = { cpu = \"1s\" }\n[probe]\n")
	f.Add("[transform.limits]\ncpu = 5")
	f.Add("[trAnsform.liMits]")
	f.Add("transform = [{module = \"m\"}, 1]\nsettings.a = [[1], {b = 2}]")
	f.Add("name = \"\"\"\na\nname = 2.0.0")
	f.Add("[a\r\nb=")
	f.Fuzz(func(t *testing.T, text string) {
		var r, plain recipe
		file, err := Parse("r.toml", []byte(text), &r)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "r.toml") {
				t.Errorf("the file is not named: %v", err)
			}
			return
		}
		if err := toml.Unmarshal([]byte(text), &plain); err != nil || !cmp.Equal(r, plain, cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b })) {
			t.Errorf("read %+v, %v, want %+v", r, err, plain)
		}
		if len(r.Transforms) > 0 && !file.Has("transform 1") {
			t.Error("the line of a table is lost")
		}
	})
}

// What a later file says wins, and an error is placed where its key was said last.
func TestReadOver(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for name, text := range map[string]string{
		"a.toml": "name = 'first'\nfiles = ['x', 'y']\n[probe]\ndeadline = '1s'\n[[transform]]\nmodule = 'a'\n[transform.limits]\nmemory = 3\n[[transform]]\nmodule = 'b'\n",
		"b.toml": "version = '2'\n\nfiles = ['z']\n[[transform]]\nmodule = 'c'\n",
		"c.toml": "name = 'third'\n[probe]\n",
	} {
		path := filepath.Join(dir, name)
		paths = append(paths, path)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(paths)
	var got recipe
	file, err := ReadOver(&got, paths...)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "third" || got.Version != "2" || !slices.Equal(got.Files, []string{"z"}) || got.Probe.Deadline != Duration(time.Second) {
		t.Errorf("read %+v", got)
	}
	if len(got.Transforms) != 1 || got.Transforms[0].Module != "c" || got.Transforms[0].Limits.Memory != 0 {
		t.Errorf("a list of tables became %+v", got.Transforms)
	}
	if !file.Has("probe deadline") || file.Has("epoch") {
		t.Error("it does not know which keys were given")
	}
	wrong := errors.New("wrong")
	for key, where := range map[string]string{
		"name": "c.toml, line 1", "version": "b.toml, line 1", "files": "b.toml, line 3",
		"probe deadline": "a.toml, line 4", "transform 1 module": "b.toml, line 5", "epoch": "a.toml",
	} {
		if got, want := file.Place(In(key, wrong)).Error(), filepath.Join(dir, where)+": "+key+": wrong"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, err := ReadOver(&got, paths[0], filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is away is read")
	}
}
