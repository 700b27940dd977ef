package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// blobPath is where the layout keeps a blob. The digest must have been checked.
func (c *catalog) blobPath(digest string) string {
	return filepath.Join(c.blobDir(), strings.TrimPrefix(digest, "sha256:"))
}

func (c *catalog) blobDir() string { return filepath.Join(c.dir, "blobs", "sha256") }

// settle makes a written file durable under its final name.
func settle(f *os.File, path string) error {
	if err := durable.Commit(f, path, 0o644); err != nil {
		return fmt.Errorf("cannot store %s: %w", filepath.Base(path), err)
	}
	return nil
}

// writeBlob stores what is small enough to be in memory, in place of what is left of
// it.
func (c *catalog) writeBlob(digest string, b []byte) error {
	if err := c.quota.take(int64(len(b))); err != nil {
		return err
	}
	unused, err := c.replace(digest, func(path string) error { return c.writeFile(path, b) })
	if err != nil {
		unused = int64(len(b))
	}
	c.quota.give(unused)
	return err
}

// replace has a blob written, and returns the bytes of the one before.
func (c *catalog) replace(digest string, write func(path string) error) (before int64, err error) {
	path := c.blobPath(digest)
	if info, err := os.Stat(path); err == nil {
		before = info.Size()
	}
	return before, write(path)
}

func (c *catalog) writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(c.uploads(), "file-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(f, bytes.NewReader(b)); err != nil {
		return err
	}
	return settle(f, path)
}

func (c *catalog) writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.writeFile(path, b)
}

// mount reports whether a blob is here, and has it seem new, so that nobody takes it
// for one that is left over.
func (c *catalog) mount(digest string) bool {
	c.writes.Lock()
	defer c.writes.Unlock()
	now := time.Now()
	return os.Chtimes(c.blobPath(digest), now, now) == nil
}

// discard removes a file, and gives back the space that it took.
func (c *catalog) discard(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		c.quota.give(info.Size())
	}
	return err
}
