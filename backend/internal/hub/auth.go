package hub

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// username is what an MQTT user name says: `{host}/{device}[/{module}]/?api-version=…[&…]`.
type username struct {
	device, module string
}

// id is that of the device, or of the module; it is the client id as well.
func (u username) id() string {
	if u.module == "" {
		return u.device
	}
	return twin.ModuleID(u.device, u.module)
}

// resource is what a token has to be for.
func (u username) resource() string {
	if u.module == "" {
		return "/devices/" + u.device
	}
	return "/devices/" + u.device + "/modules/" + u.module
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
		if err := twin.CheckID(name.module); err != nil {
			return username{}, err
		}
	}
	return name, twin.CheckID(name.device)
}

// proof is how a device has shown who it is.
type proof struct {
	method string    // Azure's iothub-connection-auth-method, as stamped on messages
	expiry time.Time // of the token, or of the certificate
}

var (
	byDeviceKey   = `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`
	byPolicy      = `{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`
	byCertificate = `{"scope":"device","type":"x509","issuer":"external","acceptingIpFilterRule":null}`
)

// authenticateDevice checks a token of one of the device's own keys, or of a policy that may connect devices, or without
// one the client's certificate. The error is twin.Unauthorized with a reason for the log, or the store's.
func (h *Hub) authenticateDevice(ctx context.Context, name username, password string, chain []*x509.Certificate) (proof, error) {
	d, err := h.store.Device(ctx, name.id())
	if errors.Is(err, twin.DeviceNotFound) {
		return proof{}, twin.Unauthorized.With("device or module is not registered")
	}
	if err != nil {
		return proof{}, err
	}
	if d.Disabled {
		return proof{}, twin.Unauthorized.With("device is disabled")
	}
	if password == "" && len(chain) > 0 {
		return h.verifyCertificate(d, chain)
	}
	token, err := iothub.ParseToken(password)
	if err != nil {
		return proof{}, twin.Unauthorized.With("%v", err)
	}
	if !token.Covers(name.resource()) {
		return proof{}, twin.Unauthorized.With("token is for another resource")
	}
	if token.Policy != "" {
		return proof{byPolicy, token.Expiry}, h.verifyPolicy(token, deviceConnect)
	}
	if way(d) != twin.ByKey {
		return proof{}, twin.Unauthorized.With("device does not prove itself by a key")
	}
	if err := verifyAny(token, d.Keys.Primary, d.Keys.Secondary); err != nil {
		return proof{}, twin.Unauthorized.With("%v", err)
	}
	return proof{byDeviceKey, token.Expiry}, nil
}

// way is how a device proves who it is.
func way(d twin.Device) string { return cmp.Or(d.Authentication, twin.ByKey) }

// verifyCertificate checks a certificate by its registered thumbprint, or by who has issued it and its common name,
// which is the device's or module's id. TLS has checked that the client has its key. Lists of revoked certificates are
// not read: a device is shut out by disabling it.
func (h *Hub) verifyCertificate(d twin.Device, chain []*x509.Certificate) (proof, error) {
	leaf, now := chain[0], time.Now()
	shown := proof{byCertificate, leaf.NotAfter}
	if now.Before(leaf.NotBefore) || !now.Before(leaf.NotAfter) {
		return proof{}, twin.Unauthorized.With("certificate is not valid now")
	}
	switch way(d) {
	case twin.ByThumbprint:
		if thumbprint(leaf, d.Thumbprints.Primary) || thumbprint(leaf, d.Thumbprints.Secondary) {
			return shown, nil
		}
		return proof{}, twin.Unauthorized.With("certificate is not the registered one")
	case twin.ByCertificate:
		if leaf.Subject.CommonName != d.ID {
			return proof{}, twin.Unauthorized.With("common name of the certificate is %q", leaf.Subject.CommonName)
		}
		between := x509.NewCertPool()
		for _, cert := range chain[1:] {
			between.AddCert(cert)
		}
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: h.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return proof{}, twin.Unauthorized.With("%v", err)
		}
		return shown, nil
	}
	return proof{}, twin.Unauthorized.With("device does not prove itself by a certificate")
}

// thumbprint tells whether registered is the digest of a certificate: SHA-256, or SHA-1, which Azure takes as well.
func thumbprint(cert *x509.Certificate, registered string) bool {
	want, err := hex.DecodeString(registered)
	if err != nil || len(want) == 0 {
		return false
	}
	long, short := sha256.Sum256(cert.Raw), sha1.Sum(cert.Raw)
	return bytes.Equal(want, long[:]) || bytes.Equal(want, short[:])
}

// readRoots reads who may issue certificates of devices; without a file it is nobody.
func readRoots(path string) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if path == "" {
		return roots, nil
	}
	text, err := os.ReadFile(path)
	if err == nil && !roots.AppendCertsFromPEM(text) {
		err = fmt.Errorf("%s has no certificate", path)
	}
	return roots, err
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
	if !ok || rights[token.Policy]&needed != needed {
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
