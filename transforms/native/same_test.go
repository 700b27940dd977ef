package native

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// kinds make trials of what the fuzzer finds: of a state, of a program, of both.
var kinds = []func(program, state string) trial{
	func(_, state string) trial {
		return a("identity", "", "a", "b", transformtest.State{"a": state})
	},
	func(program, state string) trial {
		return a("jq", "ndjson", "program", program, transformtest.State{"a": state})
	},
	func(program, state string) trial {
		return a("jq", "json", "program", program, transformtest.State{"a": state})
	},
	func(program, state string) trial {
		return a("jsonpatch", "json", "patch", program, transformtest.State{"a": state})
	},
	func(program, state string) trial {
		return a("jsonpatch", "ndjson", "merge", program, transformtest.State{"a": state})
	},
	func(program, state string) trial {
		return a("rename", "", "rules", program, transformtest.State{"a/b": state, "c": "1", "d/e/f": "2"})
	},
	func(program, state string) trial {
		return a("sqlite", "sqlite", "sql", program, transformtest.State{"a": state})
	},
}

// FuzzSame holds native code against the module, both in the sandbox. With each
// JSON that is found come variations of it, which keep its shape.
func FuzzSame(f *testing.F) {
	wasm, native := hosts(f)
	wasm.Ceiling.Wall, native.Ceiling.Wall = time.Second, time.Second // of the ten for six runs, after which it counts as hung
	for name := range filters {
		if err := wasm.Compile(f.Context(), filepath.Join(dir, name+".wasm")); err != nil {
			f.Fatal(err)
		}
	}
	lines := `{"a":{"b":1.5,"d":"text"},"list":[1,2.50,"3",null,true]}` + "\n"
	db := database(f)
	f.Add(uint8(0), "", "\x00\xff")
	f.Add(uint8(1), `.list[]?, (.. | strings | ascii_upcase)`, lines+lines)
	f.Add(uint8(1), `try error(.) catch tojson | [match("[a-z]+"; "g").offset]`, lines)
	f.Add(uint8(2), `with_entries(.value |= tostring) | .z = (input_line_number? // 1e1000)`, lines)
	f.Add(uint8(2), `.. |= (numbers |= . / 3)`, `[1,1e400,-0,0.1,123456789012345678901234567890]`)
	f.Add(uint8(3), `[{"op":"test","path":"/a/b","value":1.50},{"op":"copy","from":"/a","path":"/list/1"}]`, lines)
	f.Add(uint8(3), `[{"op":"remove","path":"/none"}]`, lines)
	f.Add(uint8(4), `{"a":{"b":null,"c":[{"d":null}]}}`, lines+`{"a":[]}`)
	f.Add(uint8(5), "a/ -> x/\nc -> d/c", "text")
	f.Add(uint8(5), "a/b -> c", "text")
	f.Add(uint8(6), "UPDATE reading SET celsius = celsius / 3, at = at || 'z'; CREATE INDEX i ON reading (celsius); PRAGMA user_version = 3", db)
	f.Add(uint8(6), "DELETE FROM reading; SELECT json('{\"a\":[1,2.5]}') -> '$.a', printf('%.20g', 0.1), strftime('%s', 'now')", db)
	f.Add(uint8(6), "SELECT 1", db[:5000]+"damage"+db[5006:])
	f.Fuzz(func(t *testing.T, kind uint8, program, state string) {
		if strings.ContainsRune(program, 0) {
			t.Skip("no param has a zero byte")
		}
		trial := kinds[int(kind)%len(kinds)](program, state)
		r := rand.New(rand.NewPCG(uint64(len(program)), uint64(len(state))))
		for name := range strings.SplitSeq("x y", " ") {
			trial.state[name] = transformtest.Vary(r, transformtest.State{"": state})[""]
		}
		trial.same(t, wasm, native)
	})
}
