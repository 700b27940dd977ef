package bridge

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// keys finds the pre-shared keys of devices in the registry of the hub. None is
// remembered, so that a device which is disabled, deleted or given another key
// cannot begin another session with the old one.
type keys struct {
	registry *iothub.Client
	log      *slog.Logger
}

// Keys finds the pre-shared key of a device by its id, in the registry of a hub, for
// [coap.PSKs]: for others that let in the same devices.
func Keys(registry *iothub.Client, log *slog.Logger) func(identity string) ([]byte, error) {
	return keys{registry, log}.find
}

// keyTimeout bounds how long the hub may take: a device repeats its part of the
// handshake meanwhile.
const keyTimeout = 10 * time.Second

// find is the primary key of the device that has this identity as its id.
func (k keys) find(identity string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keyTimeout)
	defer cancel()
	key, err := k.lookUp(ctx, identity)
	if err != nil && !iothub.IsNotFound(err) {
		k.log.Warn("cannot find the key of a device", "device", identity, "error", err)
	}
	return key, err
}

func (k keys) lookUp(ctx context.Context, identity string) ([]byte, error) {
	if identity == "" {
		return nil, errors.New("the identity is empty")
	}
	d, err := k.registry.Device(ctx, identity)
	switch {
	case err != nil:
		return nil, err
	case d.DeviceID != identity:
		return nil, fmt.Errorf("the hub knows this device as %q", d.DeviceID)
	case d.Status != "enabled":
		return nil, fmt.Errorf("the device is %s", d.Status)
	case d.Authentication.SymmetricKey.PrimaryKey == "":
		return nil, errors.New("the hub shows no key: the device has none, or the bridge needs a policy that may see them, such as registryReadWrite")
	}
	return base64.StdEncoding.DecodeString(d.Authentication.SymmetricKey.PrimaryKey)
}
