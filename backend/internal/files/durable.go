package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// blobPath is where the layout keeps a blob. The digest must have been checked.
func (c *catalog) blobPath(digest string) string {
	return filepath.Join(c.dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// ingest stores what r brings if it has that digest. It is ours and not
// oci.Storage's since a blob that is there must survive a power cut: publishers
// skip blobs that are there.
func (c *catalog) ingest(digest string, r io.Reader) error {
	f, err := os.CreateTemp(c.uploads(), "blob-*")
	if err != nil {
		return fmt.Errorf("cannot store blob: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	switch _, err := io.Copy(io.MultiWriter(f, h), r); {
	case errors.Is(err, syscall.ENOSPC):
		return refuse(http.StatusInsufficientStorage, "DENIED", "the package store is full")
	case err != nil:
		return refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "upload broke off: %w", err)
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != digest {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "content has digest %s", got)
	}
	return settle(f, c.blobPath(digest))
}

// settle makes a written file durable under its final name.
func settle(f *os.File, path string) error {
	if err := durable.Commit(f, path, 0o644); err != nil {
		return fmt.Errorf("cannot store %s: %w", filepath.Base(path), err)
	}
	return nil
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
