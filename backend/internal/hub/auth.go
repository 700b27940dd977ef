package hub

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// username is what an MQTT user name says: `{host}/{device}[/{module}]/?api-version=…[&…]`.
type username struct {
	device, module string
}

// parseUsername accepts what every generation of the SDKs sends: the last segment may lack its '?', the version must be
// there but is not compared, other properties are ignored, and so is the host, since a hub goes by several names.
func parseUsername(text string) (username, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 && len(parts) != 4 {
		return username{}, errors.New("user name is not {host}/{device}/?api-version=…")
	}
	last := len(parts) - 1
	properties, err := url.ParseQuery(strings.TrimPrefix(parts[last], "?"))
	if err != nil {
		return username{}, errors.New("user name's properties are not url-encoded")
	}
	if properties.Get("api-version") == "" {
		return username{}, errors.New("user name has no api-version")
	}
	name := username{device: parts[1]}
	if last == 3 {
		name.module = parts[2]
		if name.module == "" {
			return username{}, errors.New("user name has an empty module")
		}
	}
	return name, twin.CheckID(name.device)
}

// authenticateDevice checks a device's password: a token of one of its own keys, or of a policy that may connect devices.
// It answers when the token expires. The error is twin.Unauthorized with a reason for the log, or the store's.
func (h *Hub) authenticateDevice(ctx context.Context, device, password string) (time.Time, error) {
	token, err := iothub.ParseToken(password)
	if err != nil {
		return time.Time{}, twin.Unauthorized.With("%v", err)
	}
	if !token.Covers("/devices/" + device) {
		return time.Time{}, twin.Unauthorized.With("token is for another resource")
	}
	if token.Policy != "" {
		if err := h.verifyPolicy(token, deviceConnect); err != nil {
			return time.Time{}, err
		}
	}
	d, err := h.store.Device(ctx, device)
	if errors.Is(err, twin.DeviceNotFound) {
		return time.Time{}, twin.Unauthorized.With("device is not registered")
	}
	if err != nil {
		return time.Time{}, err
	}
	if d.Disabled {
		return time.Time{}, twin.Unauthorized.With("device is disabled")
	}
	if token.Policy == "" {
		if err := verifyAny(token, d.Keys.Primary, d.Keys.Secondary); err != nil {
			return time.Time{}, twin.Unauthorized.With("%v", err)
		}
	}
	return token.Expiry, nil
}

// verifyAny is nil if one key verifies, and otherwise the most telling error.
func verifyAny(token iothub.Token, keys ...string) error {
	result := iothub.ErrTokenSignature
	for _, key := range keys {
		err := token.Verify(key, time.Now())
		if err == nil || errors.Is(err, iothub.ErrTokenExpired) {
			return err
		}
	}
	return result
}

func (h *Hub) verifyPolicy(token iothub.Token, needed right) error {
	key, ok := h.policies[token.Policy]
	if !ok || rights[token.Policy]&needed == 0 {
		return twin.Unauthorized.With("policy does not permit this")
	}
	if err := token.Verify(key, time.Now()); err != nil {
		return twin.Unauthorized.With("%v", err)
	}
	return nil
}

// authenticateService checks a REST request and answers what its policy may do.
func (h *Hub) authenticateService(r *http.Request, needed right) (right, error) {
	token, err := iothub.ParseToken(r.Header.Get("Authorization"))
	if err != nil {
		return 0, twin.Unauthorized.With("%v", err)
	}
	if err := h.verifyPolicy(token, needed); err != nil {
		return 0, err
	}
	if !token.Covers(r.URL.Path) {
		return 0, twin.Unauthorized.With("token is for another resource")
	}
	return rights[token.Policy], nil
}
