package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A cache is the metadata that was trusted last, as it came: by role, and roots
// by the names of their files. It is one file, so that what belongs together
// changes together. All of it is verified again when it is read: what is damaged
// there is fetched again.
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

func (c cache) write(dir string, log *slog.Logger) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return put(cacheFile(dir), b, log)
}

func (c cache) equal(d cache) bool {
	return maps.EqualFunc(c, d, func(a, b []byte) bool { return string(a) == string(b) })
}

// related tells whether a root that the device is given has to do with the one
// that it was given before, whose digest is anchor: it is among those that
// followed, or the next of them, or they follow from it.
func (c cache) related(given []byte, anchor string) bool {
	m, err := parse[metadata.RootType](given)
	if err != nil {
		return false
	}
	version := m.Signed.Version
	if bytes.Equal(c[File(Root, version)], given) {
		return true
	}
	if newest, err := parse[metadata.RootType](c[File(Root, c.newestRoot())]); err == nil && newest.Signed.Version < version {
		return verify(newest, Root, m) == nil
	}
	t, err := begin(given)
	for err == nil {
		version++
		b := c[File(Root, version)]
		err = guard(func() error { _, err := t.UpdateRoot(b); return err })
		if err == nil && pack.DigestOf(b) == anchor {
			return true
		}
	}
	return false
}

func (c cache) newestRoot() (newest int64) {
	for name := range c {
		if role, version, err := ParseFile(name); err == nil && role == Root {
			newest = max(newest, version)
		}
	}
	return newest
}
