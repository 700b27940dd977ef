// Package store keeps the registrations of LwM2M devices in files, one per device, so
// that a restart of the server ends none.
package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Files is an [lwm2m.Store] in a folder, which belongs to one server. After a power cut
// the last changes may be missing: such a device registers anew.
//
// [lwm2m.Store]: https://pkg.go.dev/github.com/tranquil-iot/tranquil/sdk/lwm2m#Store
type Files string

// Open opens the store in a folder, which is made if it is not there.
func Open(folder string) (Files, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("cannot open the store of registrations: %w", err)
	}
	return Files(folder), nil
}

func (f Files) of(endpoint string) string {
	sum := sha256.Sum256([]byte(endpoint))
	return filepath.Join(string(f), hex.EncodeToString(sum[:])+".device")
}

// quoted is the first line of a file: its own name cannot hold every endpoint's.
func quoted(endpoint string) []byte { return []byte(strconv.Quote(endpoint) + "\n") }

// Save implements [lwm2m.Store].
func (f Files) Save(endpoint string, state []byte) error {
	name := f.of(endpoint)
	if err := os.WriteFile(name+".new", slices.Concat(quoted(endpoint), state), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// Remove implements [lwm2m.Store].
func (f Files) Remove(endpoint string) error {
	if err := os.Remove(f.of(endpoint)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Load implements [lwm2m.Store]. Files that cannot be read are removed, and named in the
// error beside all the others.
func (f Files) Load() (map[string][]byte, error) {
	names, err := filepath.Glob(filepath.Join(string(f), "*.device"))
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	var failed error
	for _, name := range names {
		var endpoint string
		b, err := os.ReadFile(name)
		line, state, found := bytes.Cut(b, []byte("\n"))
		if err == nil && !found {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			endpoint, err = strconv.Unquote(string(line))
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", filepath.Base(name), err), os.Remove(name))
			continue
		}
		all[endpoint] = state
	}
	return all, failed
}
