package hub

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"
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

// loadPolicies reads the keys of all policies, which are made once for all hubs of a store.
func loadPolicies(secrets Secrets) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	keys := map[string]string{}
	for name := range rights {
		key, err := secrets.Secret(ctx, "policy."+name, []byte(newKey()))
		if err != nil {
			return nil, err
		}
		keys[name] = string(key)
	}
	return keys, nil
}

func newKey() string {
	var secret [32]byte
	rand.Read(secret[:])
	return base64.StdEncoding.EncodeToString(secret[:])
}
