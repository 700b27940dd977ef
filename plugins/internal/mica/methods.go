package mica

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// An Operation is what an updater needs of a Base OS. Which method it is, is nowhere
// documented; that a MICA can do it is, by its manuals.
type Operation string

// Operations.
const (
	List     Operation = "list"     // the containers and whether they run
	Upload   Operation = "upload"   // a piece of a file, into a place of its own
	Install  Operation = "install"  // make a container of an uploaded image
	Delete   Operation = "delete"   // remove a container
	Start    Operation = "start"    // start a container
	Stop     Operation = "stop"     // stop a container: politely, then by force
	Export   Operation = "export"   // make a tar of a directory of a container, in a place of its own
	Download Operation = "download" // a piece of what was exported
	Import   Operation = "import"   // replace a directory of a container by an uploaded tar

	Firmware Operation = "firmware" // the version of the firmware that runs
	Flash    Operation = "flash"    // have an uploaded image be the firmware of the next boot
	Reboot   Operation = "reboot"   // reboot the device
)

// A Method is what an operation is called, and what its parameters are. In a
// value {name} and the like stand for what the updater has to say.
type Method struct {
	Method string            `json:"method"`
	Params map[string]string `json:"params"`
}

// Methods has the method of each operation.
type Methods map[Operation]Method

// Assumed is ASSUMED: no public document has any of it. It follows the names and
// the style of the methods that are documented. Whoever has the Base OS's real
// reference writes what differs into the configuration.
var Assumed = Methods{
	List:     {"get_containers", nil}, // → [{"name": "Java8", "state": "running"}]
	Upload:   {"upload", map[string]string{"upload": "{upload}", "offset": "{offset}", "data": "{data}"}},
	Install:  {"install_container", map[string]string{"name": "{name}", "upload": "{upload}"}},
	Delete:   {"delete_container", map[string]string{"name": "{name}"}},
	Start:    {"start_container", map[string]string{"name": "{name}"}},
	Stop:     {"stop_container", map[string]string{"name": "{name}", "timeout": "{seconds}"}},       // → {"forced": false}
	Export:   {"export_directory", map[string]string{"name": "{name}", "directory": "{directory}"}}, // → {"download": "7", "size": 1234}
	Download: {"download", map[string]string{"download": "{download}", "offset": "{offset}"}},       // → {"data": "base64"}
	Import:   {"import_directory", map[string]string{"name": "{name}", "directory": "{directory}", "upload": "{upload}"}},
	Firmware: {"get_base", map[string]string{"selector": ".firmware.version"}}, // → "1.5.0"; the method is documented, the selector is not
	Flash:    {"update_firmware", map[string]string{"upload": "{upload}"}},
	Reboot:   {"reboot", nil},
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

// Do carries out an operation; args are pairs of a name and its value.
func (b *Base) Do(ctx context.Context, op Operation, result any, args ...string) error {
	method := b.methods[op]
	params := map[string]string{}
	for key, value := range method.Params {
		params[key] = strings.NewReplacer(args...).Replace(value)
	}
	var dropped json.RawMessage
	if result == nil {
		result = &dropped
	}
	return b.Call(ctx, method.Method, params, result)
}

// piece is how many bytes of a file travel at a time.
const piece = 256 << 10

// Upload sends a file to a place on the Base OS.
func (b *Base) Upload(ctx context.Context, place, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer := make([]byte, piece)
	for offset := int64(0); ; {
		n, err := io.ReadFull(f, buffer)
		if errors.Is(err, io.EOF) && offset > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		data := base64.StdEncoding.EncodeToString(buffer[:n])
		if err := b.Do(ctx, Upload, nil, "{upload}", place, "{offset}", fmt.Sprint(offset), "{data}", data); err != nil {
			return err
		}
		if offset += int64(n); n < piece {
			return nil
		}
	}
}
