package trust

import (
	"log/slog"
	"os"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// put writes a file of the client's own, also if a directory is in its place.
func put(path string, b []byte, log *slog.Logger) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		log.Warn("a directory was where trust metadata is kept, and is removed", "path", path, "error", os.RemoveAll(path))
	}
	return durable.WriteFile(path, b, 0o600)
}
