package host

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/internal/wat"
)

// compiles says whether the engine has a compiler for this processor.
const compiles = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"

// A vector is one of ../testdata/abi, which ABI.md describes.
type vector struct {
	Note         string
	From, To     int
	File, Format string
	File64       []byte // in place of File, for a name that is no UTF-8
	Params       map[string]string
	Wall, CPU    string
	Class        Class
	Code         int
	Reason       string

	name    string
	module  []byte
	in, out []byte
}

func vectors(t testing.TB) []vector {
	t.Helper()
	dirs, err := filepath.Glob("../testdata/abi/*")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no vectors", err)
	}
	var all []vector
	for _, dir := range dirs {
		v := vector{name: filepath.Base(dir)}
		for file, use := range map[string]func([]byte) error{
			"vector.json": func(b []byte) error { return json.Unmarshal(b, &v) },
			"module.wat":  func(b []byte) error { v.module = wat.Assemble(t, string(b)); return nil },
			"in":          func(b []byte) error { v.in = b; return nil },
		} {
			data, err := os.ReadFile(filepath.Join(dir, file))
			if err == nil {
				err = use(data)
			}
			if err != nil {
				t.Fatalf("%s: %v", dir, err)
			}
		}
		v.From, v.To, v.File = cmp.Or(v.From, 1), cmp.Or(v.To, 2), cmp.Or(v.File, string(v.File64), "f")
		if v.Class == "ok" {
			v.Class = ""
			v.out, err = os.ReadFile(filepath.Join(dir, "out"))
			if err != nil && os.Getenv("TRANQUIL_UPDATE") == "" {
				t.Fatal(err)
			}
		}
		all = append(all, v)
	}
	return all
}

func (v vector) limits(t testing.TB) (l Limits) {
	t.Helper()
	for text, to := range map[string]*time.Duration{v.Wall: &l.Wall, v.CPU: &l.CPU} {
		if text != "" {
			d, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			*to = d
		}
	}
	return l
}

func (v vector) step(t testing.TB) Step {
	t.Helper()
	module := filepath.Join(t.TempDir(), "module.wasm")
	if err := os.WriteFile(module, v.module, 0o600); err != nil {
		t.Fatal(err)
	}
	return Step{Module: module, From: v.From, To: v.To, Format: v.Format, Params: v.Params}
}

// The test vectors of the ABI hold, in the sandbox.
func TestABI(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "out")
			h := &Host{Cache: cache, Ceiling: v.limits(t)}
			_, err := h.Run(t.Context(), []Step{v.step(t)}, write(t, map[string]string{v.File: string(v.in)}), out, nil)
			if v.Class != "" {
				e := failed(t, err)
				if e.Class != v.Class || e.Code != v.Code || !strings.Contains(e.Reason, v.Reason) || strings.Contains(e.Error(), "\n") {
					t.Errorf("got %v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			v.compare(t, []byte(read(t, out)[v.File]))
		})
	}
}

func (v vector) compare(t testing.TB, got []byte) {
	t.Helper()
	if os.Getenv("TRANQUIL_UPDATE") != "" {
		if err := os.WriteFile(filepath.Join("../testdata/abi", v.name, "out"), got, 0o600); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(got, v.out) {
		t.Errorf("%s: got %.100q, want %.100q", v.name, got, v.out)
	}
}

// The engines of all processors give the same bytes and classes. This runs
// in one process, so that it runs under an emulator too (make arm).
func TestEngines(t *testing.T) {
	sum := sha256.New()
	for _, v := range vectors(t) {
		if Check(v.module) != nil || v.Wall != "" {
			continue
		}
		for _, interpret := range []bool{false, true} {
			result, got := v.inProcess(t, interpret)
			if v.Class == Invalid { // which is for the host to say
				result.Class = Invalid
			}
			if result.Class != v.Class {
				t.Errorf("%s, interpreted %t: got %+v, want %s", v.name, interpret, result, v.Class)
			}
			if v.Class == "" {
				v.compare(t, got)
				fmt.Fprintf(sum, "%s %x\n", v.name, sha256.Sum256(got))
			}
		}
	}
	t.Logf("digest of all results: %x", sum.Sum(nil))
}

// A program of the usual size, in Go with encoding/json.
func TestEnginesOfAProgram(t *testing.T) {
	if raced {
		t.Skip("compiles in one goroutine of this process, for minutes under the race detector: make arm runs it")
	}
	module, err := os.ReadFile(built("subject"))
	if err != nil {
		t.Fatal(err)
	}
	v := vector{name: "subject", module: module, From: 1, To: 2, File: "f", in: []byte(`{"count":12345678.5}`)}
	for _, interpret := range []bool{false, true} {
		if result, got := v.inProcess(t, interpret); result.Class != "" || string(got) != `{"total":12345678.5}`+"\n" {
			t.Errorf("interpreted %t: got %+v, %q", interpret, result, got)
		}
		if !compiles {
			break // there is but the interpreter
		}
	}
}

// The ready-made transforms that do most, in Go and in C.
func TestEnginesOfReadyMade(t *testing.T) {
	if raced {
		t.Skip("as TestEnginesOfAProgram: minutes under the race detector, and make arm runs it")
	}
	db, err := os.ReadFile("testdata/sqlite/small.db")
	must(t, err)
	const sql = `CREATE TABLE extra (a REAL, b TEXT); WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 500)
		INSERT INTO extra SELECT i / 3.0, printf('%d-%s', i, hex(randomblob(4))) FROM c; CREATE INDEX e ON extra (b)`
	for _, v := range []vector{
		{
			name: "jq", Format: "ndjson", Params: map[string]string{"program": `{at, celsius: (.value * 1.5 | floor), n, tags: (.tags | sort | join("/"))}`},
			in: []byte(`{"at":"x","value":20.5,"n":1,"tags":["b","a"]}` + "\n" + `{"at":"é","value":7,"n":12345678901234567890,"tags":[]}` + "\n"),
		},
		{name: "sqlite", Format: "sqlite", Params: map[string]string{"sql": sql}, in: db},
	} {
		if v.module, err = os.ReadFile(built(v.name + ".wasm")); err != nil {
			t.Logf("NOT TESTED: %s, which make arm builds", v.name)
			continue
		}
		v.From, v.To, v.File = 1, 2, "f"
		for _, interpret := range []bool{false, true} {
			if interpret && !compiles {
				break // there is but the interpreter
			}
			result, got := v.inProcess(t, interpret)
			if sum := fmt.Sprintf("%x", sha256.Sum256(got)); result.Class != "" || sum != readyMade[v.name] {
				t.Errorf("%s, interpreted %t: got %+v, %d bytes with digest %s", v.name, interpret, result, len(got), sum)
			}
		}
	}
}

// readyMade are the digests of what they make, on all processors.
var readyMade = map[string]string{
	"jq":     "9d1b1fa1608a6c163e1509aa58ca120cdc17d9aaa5abef44703a2862746197f3",
	"sqlite": "f69e7ec48a5b3178ea362c08509c801ad3c326908040c8f600777611c63045a0",
}

func (v vector) inProcess(t *testing.T, interpret bool) (outcome, []byte) {
	t.Helper()
	s := setup{SHA256: sha256.Sum256(v.module), Memory: 128 << 20, Interpret: interpret}
	e, result := compile(s, bytes.NewReader(v.module), t.TempDir())
	if result.Class != "" {
		return result, nil
	}
	defer e.close(t)
	step := Step{From: v.From, To: v.To, Format: v.Format, Params: v.Params}
	env, err := step.env(v.File)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	limited := &limitedWriter{w: &out, left: 16 << 20}
	result = e.run(job{Args: step.args(v.File), Env: env}, bytes.NewReader(v.in), limited, &bytes.Buffer{})
	if limited.exceeded {
		result.Class = OutputLimit
	}
	return result, out.Bytes()
}

func (e *engine) close(t *testing.T) {
	if err := e.runtime.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := e.memory.close(); err != nil {
		t.Error(err)
	}
}
