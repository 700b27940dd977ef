package mica

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The operations on containers that the updater needs of a Base OS. Which methods
// they are is nowhere documented; that a MICA can do them is, by its manuals.
const (
	opList     = "list"     // the containers and whether they run
	opUpload   = "upload"   // a piece of a file, into a place of its own
	opInstall  = "install"  // make a container of an uploaded image
	opDelete   = "delete"   // remove a container
	opStart    = "start"    // start a container
	opStop     = "stop"     // stop a container: politely, then by force
	opExport   = "export"   // make a tar of a directory of a container, in a place of its own
	opDownload = "download" // a piece of what was exported
	opImport   = "import"   // replace a directory of a container by an uploaded tar
)

// A Method is what an operation is called, and what its parameters are. In a
// value {name} and the like stand for what the updater has to say.
type Method struct {
	Method string            `json:"method"`
	Params map[string]string `json:"params"`
}

// Methods has the method of each operation.
type Methods map[string]Method

// Assumed is ASSUMED: no public document has any of it. It follows the names and
// the style of the methods that are documented. Whoever has the Base OS's real
// reference writes what differs into the configuration.
var Assumed = Methods{
	opList:     {"get_containers", nil}, // → [{"name": "Java8", "state": "running"}]
	opUpload:   {"upload", map[string]string{"upload": "{upload}", "offset": "{offset}", "data": "{data}"}},
	opInstall:  {"install_container", map[string]string{"name": "{name}", "upload": "{upload}"}},
	opDelete:   {"delete_container", map[string]string{"name": "{name}"}},
	opStart:    {"start_container", map[string]string{"name": "{name}"}},
	opStop:     {"stop_container", map[string]string{"name": "{name}", "timeout": "{seconds}"}},       // → {"forced": false}
	opExport:   {"export_directory", map[string]string{"name": "{name}", "directory": "{directory}"}}, // → {"download": "7", "size": 1234}
	opDownload: {"download", map[string]string{"download": "{download}", "offset": "{offset}"}},       // → {"data": "base64"}
	opImport:   {"import_directory", map[string]string{"name": "{name}", "directory": "{directory}", "upload": "{upload}"}},
}

// with returns the methods with those of others in their place.
func (m Methods) with(others Methods) (Methods, error) {
	all := maps.Clone(m)
	for op, method := range others {
		if _, known := m[op]; !known || method.Method == "" {
			return nil, fmt.Errorf("methods: %q is no operation, or has no method: there are %q", op, slices.Sorted(maps.Keys(m)))
		}
		all[op] = method
	}
	return all, nil
}

// do carries out an operation; args are pairs of a name and its value.
func (u *Updater) do(ctx context.Context, op string, result any, args ...string) error {
	method := u.methods[op]
	params := map[string]string{}
	for key, value := range method.Params {
		params[key] = strings.NewReplacer(args...).Replace(value)
	}
	var dropped json.RawMessage
	if result == nil {
		result = &dropped
	}
	return u.base.Call(ctx, method.Method, params, result)
}
