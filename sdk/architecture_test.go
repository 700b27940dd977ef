// Package sdk_test holds the rules that the whole module keeps: who may
// import whom, one package comment each, and the size of things.
package sdk_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tranquil-iot/tranquil/"

// A rule says who may import the packages whose path begins with Import.
// Importers are path prefixes; a trailing "$" means exactly this package.
type rule struct {
	imports   string
	importers []string
	reason    string
}

var heavy = []rule{
	{"github.com/hashicorp/go-plugin", []string{"sdk/updater$"}, "both ends of the wire are in one package, so that authors and agent never see it"},
	{"github.com/hashicorp/go-hclog", []string{"sdk/updater$"}, "go-plugin's logger ends where slog begins"},
	{"google.golang.org/grpc", []string{"sdk/updater"}, "as go-plugin"},
	{"google.golang.org/protobuf", []string{"sdk/updater"}, "as go-plugin"},
	{"github.com/tetratelabs/wazero", []string{"sdk/transform/host"}, "one sandbox for agent, command line and kit"},
	{"github.com/santhosh-tekuri/jsonschema", []string{"sdk/transform/host$"}, "results are held against schemas in the sandbox"},
	{"github.com/dgraph-io/badger", []string{"agent/internal/store$"}, "the database can be replaced"},
	{"github.com/nats-io", []string{"backend/internal/store$"}, "the store can be replaced"},
	{"oras.land/oras-go", []string{"sdk/cmd/tranquil", "backend/internal/files$"}, "devices fetch by digest and need no registry client"},
	{"github.com/plgd-dev/go-coap", []string{"sdk/lwm2m/coap", "agent/internal/fetch", "backend/internal/files"}, "LwM2M knows no transport"},
	{"github.com/pion/dtls", []string{"sdk/lwm2m/coap$"}, "as go-coap"},
	{"github.com/eclipse/paho.mqtt.golang", []string{"backend/internal/bridge", "backend/internal/hub"}, "the bridge is a client, the hub uses the packet codec"},
	{"github.com/pelletier/go-toml", []string{"sdk/settings$", "examples"}, "what people write has one reader, which speaks their words"},
	{"github.com/Masterminds/semver", []string{"sdk/pack$"}, "one idea of which version is newer"},
	{"github.com/alecthomas/kong", []string{"sdk/cmd/tranquil"}, "only the command line has commands"},
	{"github.com/itchyny/gojq", []string{"transforms/jq$"}, "a transform knows its own language only"},
	{"github.com/adhocore/gronx", []string{"sdk/schedule$"}, "one idea of a schedule"},
	{"github.com/theupdateframework/go-tuf/v2/metadata/updater", nil, "its updater does not recover from damage; ours is the list in sdk/trust"},
	{"github.com/theupdateframework/go-tuf", []string{"sdk/trust$"}, "one workflow for agent, backend and command line"},
	{"github.com/sigstore/sigstore", []string{"sdk/trust$"}, "as go-tuf, which signs with it"},
	{"github.com/secure-systems-lab/go-securesystemslib", []string{"sdk/trust"}, "keys at rest, and the canonical form that is signed"},
	{"github.com/coder/websocket", []string{"backend/internal/hub$", "plugins/internal/mica$", "examples/mica-base$"}, "MQTT over WebSocket, and what the MICA's Base OS speaks"},
	{"github.com/godbus/dbus", []string{"plugins/firmware/internal/rauc", "plugins/application/internal/systemd"}, "what RAUC and systemd speak"},
	{"github.com/coreos/go-systemd", []string{"plugins/application/internal/systemd"}, "systemd is one of the ways to run an application"},
	{"net/http", []string{"backend", "agent/internal/fetch", "agent/internal/link", "agent/internal/enrolment", "plugins/internal/service", "plugins/internal/mica", "sdk/iothub", "sdk/component", "sdk/cmd/tranquil", "examples", "sdk/updater/proto"}, "an HTTP stack where HTTP is spoken"},
}

// trees say which of our own packages a tree may import, besides its own.
var trees = []struct {
	tree    string
	allowed []string
	reason  string
}{
	{"sdk/transform$", nil, "a transform compiles to Wasm with the standard library alone"},
	{"sdk/cmd/tranquil", []string{"sdk", "transforms/native"}, "it runs ready-made transforms as the agent does"},
	{"sdk", []string{"sdk"}, "what others import must not drag the product along"},
	{"transforms", []string{"sdk/transform", "transforms"}, "they run in the sandbox"},
	{"plugins", []string{"sdk", "plugins"}, "an updater is written like anybody's updater"},
	{"agent$", []string{"sdk", "agent", "transforms/native"}, "main gives the sandbox the ready-made transforms as native code"},
	{"agent", []string{"sdk", "agent"}, "what agent and backend share is a contract, so it is in sdk"},
	{"backend", []string{"sdk", "backend"}, "as agent"},
	{"examples", []string{"sdk", "examples"}, "examples are written like anybody's programs; binaries are run, not imported"},
}

// siblings list the imports between packages of one internal directory that
// are allowed; all others are main's job.
var siblings = map[string][]string{
	"agent/internal/engine":      {"agent/internal/state"},
	"agent/internal/manager":     {"agent/internal/engine"},
	"agent/internal/delivery":    {"agent/internal/engine"},
	"agent/internal/device":      {"agent/internal/engine"},
	"agent/internal/link":        {"agent/internal/engine"},
	"agent/internal/store":       {"agent/internal/engine"},
	"backend/internal/hub":       {"backend/internal/limit", "backend/internal/query", "backend/internal/twin"},
	"backend/internal/query":     nil,
	"backend/internal/store":     {"backend/internal/twin"},
	"backend/internal/bridge":    {"backend/internal/twin"},
	"backend/internal/files":     {"backend/internal/limit"},
	"backend/internal/limit":     nil,
	"backend/internal/audit":     nil,
	"backend/internal/localca":   nil,
	"backend/internal/webhook":   {"backend/internal/twin"},
	"backend/internal/fleet":     {"backend/internal/twin"},
	"backend/internal/api":       {"backend/internal/accounts", "backend/internal/audit", "backend/internal/enrolment", "backend/internal/fleet", "backend/internal/limit", "backend/internal/twin", "backend/internal/webhook"},
	"backend/internal/enrolment": {"backend/internal/twin"},
	"backend/internal/web":       {"backend/internal/accounts", "backend/internal/audit", "backend/internal/enrolment", "backend/internal/fleet", "backend/internal/twin", "backend/internal/webhook"},
	"backend/internal/accounts":  {"backend/internal/audit", "backend/internal/limit", "backend/internal/twin"},
	"agent/internal/fetch":       nil,
	"agent/internal/sideload":    nil,
	"agent/internal/content":     nil,
	"agent/internal/state":       nil,
	"agent/internal/pluginhost":  nil,

	"plugins/container/internal/container": {"plugins/container/internal/cgroup", "plugins/container/internal/image"},
	"plugins/container/internal/lxc":       {"plugins/container/internal/cgroup", "plugins/container/internal/container"},
	"plugins/container/internal/oci":       {"plugins/container/internal/cgroup", "plugins/container/internal/container"},
	"plugins/container/internal/mica":      {"plugins/container/internal/image"},
	"plugins/container/internal/cgroup":    nil,
	"plugins/container/internal/image":     nil,
	"plugins/application/internal/exec":    {"plugins/application/internal/systemd"},
	"plugins/application/internal/systemd": nil,
}

func TestImports(t *testing.T) {
	eachFile(t, func(f source) {
		for _, spec := range f.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			checkHeavy(t, f, imported)
			if own, ok := strings.CutPrefix(imported, module); ok {
				checkTree(t, f, own)
				checkSiblings(t, f, own)
			}
		}
	})
}

func checkHeavy(t *testing.T, f source, imported string) {
	for _, r := range heavy {
		if !strings.HasPrefix(imported, r.imports) || f.test || strings.HasPrefix(imported, "net/http/httptrace") {
			continue
		}
		if !slices.ContainsFunc(r.importers, func(p string) bool { return within(f.dir, p) }) {
			t.Errorf("%s imports %s: only %v may, since %s", f.name, imported, r.importers, r.reason)
		}
	}
}

func checkTree(t *testing.T, f source, own string) {
	for _, tree := range trees {
		if !within(f.dir, tree.tree) || f.test {
			continue
		}
		if !slices.ContainsFunc(tree.allowed, func(p string) bool { return within(own, p) }) {
			t.Errorf("%s imports %s: %s may import %v only, since %s", f.name, own, tree.tree, tree.allowed, tree.reason)
		}
		return
	}
}

func checkSiblings(t *testing.T, f source, own string) {
	allowed, listed := siblings[f.dir]
	if !listed || f.test || within(own, f.dir) || !strings.HasPrefix(own, path.Dir(f.dir)+"/") {
		return
	}
	if !slices.Contains(allowed, own) {
		t.Errorf("%s imports its sibling %s: main wires", f.name, own)
	}
}

func within(dir, prefix string) bool {
	if exact, ok := strings.CutSuffix(prefix, "$"); ok {
		return dir == exact
	}
	return dir == prefix || strings.HasPrefix(dir, prefix+"/")
}

func TestOnePackageComment(t *testing.T) {
	comments := map[string][]string{}
	eachFile(t, func(f source) {
		if f.test {
			return
		}
		comments[f.dir] = slices.Concat(comments[f.dir], nil)
		if f.Doc != nil {
			comments[f.dir] = append(comments[f.dir], f.name)
		}
	})
	for _, dir := range slices.Sorted(maps.Keys(comments)) {
		if files := comments[dir]; len(files) != 1 {
			t.Errorf("package %s has %d package comments, in %v: want one that tells its concept", dir, len(files), files)
		}
	}
}

func TestNames(t *testing.T) {
	eachFile(t, func(f source) {
		switch f.Name.Name {
		case "util", "utils", "common", "helpers", "types":
			t.Errorf("%s: package %s has no noun of its own", f.name, f.Name.Name)
		}
	})
}

// Sizes, in lines: what wants to be larger wants to be two things.
const (
	maxFunction       = 100
	maxMedianFunction = 12
	maxFile           = 700
	maxEngine         = 300
	maxMethods        = 5
)

func TestSizes(t *testing.T) {
	var functions []int
	eachFile(t, func(f source) {
		limit := maxFile
		if f.name == "agent/internal/engine/engine.go" {
			limit = maxEngine
		}
		if n := f.line(f.End()); n > limit {
			t.Errorf("%s has %d lines, more than %d", f.name, n, limit)
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				size := f.line(n.End()) - f.line(n.Pos()) + 1
				if size > maxFunction {
					t.Errorf("%s: %s has %d lines, more than %d", f.name, n.Name.Name, size, maxFunction)
				}
				if !f.test {
					functions = append(functions, size)
				}
			case *ast.InterfaceType:
				if n.Methods.NumFields() > maxMethods {
					t.Errorf("%s:%d: an interface of %d methods, more than %d", f.name, f.line(n.Pos()), n.Methods.NumFields(), maxMethods)
				}
			}
			return true
		})
	})
	slices.Sort(functions)
	if median := functions[len(functions)/2]; median > maxMedianFunction {
		t.Errorf("the median function has %d lines, more than %d", median, maxMedianFunction)
	}
}

func TestEveryTreeHasAReadme(t *testing.T) {
	for _, dir := range []string{"agent", "plugins", "transforms", "sdk", "backend", "examples"} {
		if matches, _ := filepath.Glob(filepath.Join("..", dir, "README.md")); len(matches) == 0 {
			t.Errorf("%s has no README.md for its user", dir)
		}
	}
}

// A source is one Go file that people wrote.
type source struct {
	*ast.File
	name string // from the module's root
	dir  string
	test bool
	set  *token.FileSet
}

func (s source) line(p token.Pos) int { return s.set.Position(p).Line }

func eachFile(t *testing.T, f func(source)) {
	t.Helper()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		generated := strings.HasSuffix(name, ".pb.go") || strings.HasSuffix(name, ".wasm.go")
		if d.IsDir() || !strings.HasSuffix(name, ".go") || generated {
			return nil
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		short := filepath.ToSlash(strings.TrimPrefix(name, ".."+string(filepath.Separator)))
		f(source{parsed, short, path.Dir(short), strings.HasSuffix(short, "_test.go"), set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
