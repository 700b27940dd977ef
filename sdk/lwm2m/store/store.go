// Package store keeps the registrations of LwM2M devices in files, one per device, so
// that a restart of the server ends none.
package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// content of a file, whose name cannot hold every endpoint's.
type content struct {
	Endpoint []byte
	State    []byte
}

func (f Files) of(endpoint string) string {
	sum := sha256.Sum256([]byte(endpoint))
	return filepath.Join(string(f), hex.EncodeToString(sum[:])+".json")
}

// Save implements [lwm2m.Store].
func (f Files) Save(endpoint string, state []byte) error {
	b, err := json.Marshal(content{[]byte(endpoint), state})
	if err != nil {
		return err
	}
	name := f.of(endpoint)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
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
	names, err := filepath.Glob(filepath.Join(string(f), "*.json"))
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	var failed error
	for _, name := range names {
		var c content
		b, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", filepath.Base(name), err), os.Remove(name))
			continue
		}
		all[string(c.Endpoint)] = c.State
	}
	return all, failed
}
