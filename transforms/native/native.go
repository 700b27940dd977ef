// Package native has the ready-made transforms as native code, for programs
// that run transforms on devices on which Wasm is slow. A package carries the
// module; the program knows it by its digest.
package native

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/transforms/identity"
	"github.com/tranquil-iot/tranquil/transforms/jq"
	"github.com/tranquil-iot/tranquil/transforms/jsonpatch"
	"github.com/tranquil-iot/tranquil/transforms/rename"
	"github.com/tranquil-iot/tranquil/transforms/sqlite"
)

// digests are those of the modules that were built from the same sources as
// this program: "jq=sha256:…,sqlite=sha256:…". make build sets it; without it,
// every module is run as Wasm.
var digests string

var filters = map[string]host.Native{
	"identity":  identity.Filter,
	"jq":        jq.Filter,
	"jsonpatch": jsonpatch.Filter,
	"rename":    rename.Filter,
	"sqlite":    sqlite.Filter,
}

var checks = map[string]func(params map[string]string) error{
	"jq":        jq.Check,
	"jsonpatch": jsonpatch.Check,
	"rename":    rename.Check,
	"sqlite":    sqlite.CheckSQL,
}

// params are those that each takes.
var params = map[string][]string{
	"identity":  {},
	"jq":        {"program"},
	"jsonpatch": {"patch", "merge"},
	"rename":    {"rules"},
	"sqlite":    {"sql"},
}

// Check returns why a ready-made transform could transform no state with these
// params.
func Check(name string, given map[string]string) error {
	for _, param := range slices.Sorted(maps.Keys(given)) {
		switch takes, ok := params[name]; {
		case ok && len(takes) == 0:
			return fmt.Errorf("%s takes no params, and has %q", name, param)
		case ok && !slices.Contains(takes, param):
			return fmt.Errorf("%s has no param %q: it takes %s", name, param, strings.Join(takes, " or "))
		}
	}
	if check := checks[name]; check != nil {
		return check(given)
	}
	return nil
}

// Table returns the native code of modules by their digest, and what checks
// databases.
func Table() map[string]host.Native {
	natives := table(digests)
	natives[host.Integrity] = func(in io.Reader, _ io.Writer, _ transform.Edge) error { return sqlite.Check(in) }
	return natives
}

func table(digests string) map[string]host.Native {
	natives := map[string]host.Native{}
	for pair := range strings.SplitSeq(digests, ",") {
		name, digest, _ := strings.Cut(pair, "=")
		if filter := filters[name]; filter != nil && strings.HasPrefix(digest, "sha256:") {
			natives[digest] = filter
		}
	}
	return natives
}
