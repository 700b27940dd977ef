package trust

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
)

// A cache is the metadata that was trusted last: by role, as it came. It is one
// file, so that what belongs together changes together. All of it is verified
// again when it is read: what is damaged there is fetched again.
type cache map[string][]byte

func cacheFile(dir string) string { return filepath.Join(dir, "metadata") }

func readCache(dir string, log *slog.Logger) cache {
	c := cache{}
	b, err := os.ReadFile(cacheFile(dir))
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the metadata on the device is damaged and is fetched again", "error", err)
	}
	if err != nil || c == nil {
		return cache{}
	}
	return c
}

func (c cache) write(dir string) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return WriteFile(cacheFile(dir), b, 0o600)
}

func (c cache) equal(d cache) bool {
	return maps.EqualFunc(c, d, func(a, b []byte) bool { return string(a) == string(b) })
}
