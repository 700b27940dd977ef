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
	"github.com/tranquil-iot/tranquil/sdk/durable"
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
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return keys, durable.WriteFile(path, text, 0o600)
}

func newKey() string {
	var secret [32]byte
	rand.Read(secret[:])
	return base64.StdEncoding.EncodeToString(secret[:])
}
