package transformtest

import (
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// What authors overlook, since their examples do not show it, is found on
// variations, and shown on an example that has little else in it.
func TestFaults(t *testing.T) {
	module := "testdata/faulty/faulty.wasm"
	example := State{"notes.conf": "first=42\nsecond=7\nthird=x\n", "notes.json": `{"id":7,"name":"hall","list":[1,2.50]}` + "\n"}
	for fault, want := range map[string]struct {
		file  string
		most  int    // bytes of the smallest example
		holds string // what it must have
	}{
		"none":      {file: "notes.conf"},
		"no fault":  {file: "notes.json"},
		"limit":     {"notes.conf", 5, "=43\n"},
		"empty":     {"notes.conf", 0, ""},
		"last line": {"notes.conf", 8, "="},
		"large":     {"notes.conf", 24, ""},
		"unicode":   {"notes.conf", 12, "é"},
		"twice":     {"notes.conf", 20, "\n"},
		"blank":     {"notes.conf", 8, "\n"},
		"end":       {"notes.conf", 8, "="},
		"return":    {"notes.conf", 12, "\r\n"},
		"long":      {"notes.conf", 70_020, "xxx"},
		"mark":      {"notes.conf", 12, "\ufeff"},
		"space":     {"notes.conf", 12, " \n"},
		"sign":      {"notes.conf", 12, "+"},
		"zero":      {"notes.conf", 12, "-0"},
		"order":     {"notes.json", 60, `"id":`},
		"digits":    {"notes.json", 60, ""},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			format := strings.TrimPrefix(want.file, "notes.")
			if format == "conf" {
				format = ""
			}
			var all []Edge
			for _, way := range [][2]int{{1, 2}, {2, 1}} {
				step := host.Step{Module: module, From: way[0], To: way[1], Format: format, Params: map[string]string{"fault": fault}}
				all = append(all, Edge{Step: step})
			}
			suite := Suite{Host: Host(t), Edges: all, Variations: 24, Cases: []Case{{Name: "a", States: map[int]State{1: {want.file: example[want.file]}}}}}
			result, err := suite.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want.most == 0 && fault != "empty" {
				if len(result.Failures) > 0 {
					t.Errorf("without a fault: %v", result.Failures)
				}
				return
			}
			if len(result.Failures) == 0 {
				t.Fatal("it was not found")
			}
			found := result.Failures[0]
			if strings.Contains(found.Detail, "--- want") && !strings.HasSuffix(found.Detail, toDo) {
				t.Errorf("what to do is not told: %s", found.Detail)
			}
			small, there := found.Example[want.file]
			if !strings.HasPrefix(found.Check, "variation") || !there || len(small) > want.most || !strings.Contains(small, want.holds) {
				t.Errorf("%s, in %q", found.Check, found.Example)
			}
		})
	}
}
