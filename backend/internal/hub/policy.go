package hub

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Azure's access policies.
const (
	PolicyOwner             = "iothubowner" // everything
	PolicyService           = "service"     // twins, events
	PolicyDevice            = "device"      // connect as any device: for gateways
	PolicyRegistryRead      = "registryRead"
	PolicyRegistryReadWrite = "registryReadWrite"
)

// right is a set of permissions.
type right uint8

const (
	serviceConnect right = 1 << iota
	deviceConnect
	registryRead
	registryWrite
)

var rights = map[string]right{
	PolicyOwner:             serviceConnect | deviceConnect | registryRead | registryWrite,
	PolicyService:           serviceConnect,
	PolicyDevice:            deviceConnect,
	PolicyRegistryRead:      registryRead,
	PolicyRegistryReadWrite: registryRead | registryWrite,
}

// loadPolicies reads the keys of all policies from dir, and makes those that are missing.
func loadPolicies(dir string) (map[string]string, error) {
	path := filepath.Join(dir, "policies.json")
	keys := map[string]string{}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if err := json.Unmarshal(text, &keys); err != nil {
			return nil, fmt.Errorf("%s is damaged: mend it, or remove it to make new keys: %w", path, err)
		}
	}
	changed := false
	for name := range rights {
		if keys[name] == "" {
			keys[name], changed = newKey(), true
		}
		if err := twin.CheckKey(keys[name]); err != nil {
			return nil, fmt.Errorf("%s, policy %s: %w", path, name, err)
		}
	}
	if !changed {
		return keys, nil
	}
	if text, err = json.MarshalIndent(keys, "", "  "); err != nil {
		return nil, err
	}
	return keys, writeSecret(path, text)
}

func newKey() string {
	var secret [32]byte
	rand.Read(secret[:])
	return base64.StdEncoding.EncodeToString(secret[:])
}

// writeSecret replaces a file that only its owner may read; after it returns a power cut does not lose it.
func writeSecret(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".policies-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
