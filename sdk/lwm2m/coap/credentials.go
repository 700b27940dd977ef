package coap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/pion/dtls/v3"
)

// credentials are what this end proves itself with, and what it expects.
type credentials struct {
	identity    string
	key         []byte
	keys        func(identity string) ([]byte, error)
	certificate *tls.Certificate
	roots       *x509.CertPool
}

// PSK lets a device speak DTLS with a pre-shared key, at least 16 random bytes.
// The identity should be the endpoint name.
func PSK(identity string, key []byte) Option {
	return func(s *settings) { s.credentials.identity, s.credentials.key = identity, key }
}

// PSKs lets a server speak DTLS with pre-shared keys: keys finds the key of a
// device by its identity, and fails for strangers. It is called from several
// goroutines at once.
func PSKs(keys func(identity string) ([]byte, error)) Option {
	return func(s *settings) { s.credentials.keys = keys }
}

// Certificate lets a device or a server speak DTLS or TLS with certificates. Each end
// sends its own, with the chain, and accepts one that roots have issued. A
// device's certificate must have its endpoint name as the common name, a server's
// the host name of its address as a subject alternative name. A server may have
// both Certificate and [PSKs].
func Certificate(own tls.Certificate, roots *x509.CertPool) Option {
	return func(s *settings) { s.credentials.certificate, s.credentials.roots = &own, roots }
}

func (c credentials) given() bool { return c.key != nil || c.keys != nil || c.certificate != nil }

// The suites that LwM2M asks for, and those of the same keys that are stronger.
var (
	pskSuites = []dtls.CipherSuiteID{
		dtls.TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256, dtls.TLS_PSK_WITH_AES_128_GCM_SHA256,
		dtls.TLS_PSK_WITH_AES_128_CCM, dtls.TLS_PSK_WITH_AES_128_CCM_8,
	}
	certificateSuites = []dtls.CipherSuiteID{
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM, dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
	}
)

// connectionIDs is the length of the connection ids that a server hands out.
const connectionIDs = 8

// server configures one session of a server: newID makes its connection id, offered
// hears of the identity for which a key is looked up.
func (c credentials) server(newID func() []byte, offered func(identity string)) ([]dtls.ServerOption, error) {
	if c.keys == nil && c.certificate == nil {
		return nil, errors.New("coaps needs the PSKs or the Certificate option")
	}
	options := []dtls.ServerOption{
		dtls.WithConnectionIDGenerator(newID),
	}
	var suites []dtls.CipherSuiteID
	if c.keys != nil {
		suites = append(suites, pskSuites...)
		options = append(options, dtls.WithPSK(func(identity []byte) ([]byte, error) {
			offered(string(identity))
			return c.keys(string(identity))
		}))
	}
	if c.certificate != nil {
		if c.roots == nil {
			return nil, errors.New("the Certificate option has no roots")
		}
		suites = append(suites, certificateSuites...)
		options = append(options, dtls.WithCertificates(*c.certificate), dtls.WithClientCAs(c.roots), dtls.WithClientAuth(dtls.RequireAndVerifyClientCert))
	}
	return append(options, dtls.WithCipherSuites(suites...)), nil
}

// errPSK: nothing in Go speaks TLS with pre-shared keys.
var errPSK = errors.New("coaps+tcp needs the Certificate option, with roots; there is no TLS with pre-shared keys")

// alpn is the protocol's name in TLS (RFC 8323 section 8.2).
var alpn = []string{"coap"}

func (c credentials) serverTLS() (*tls.Config, error) {
	if c.certificate == nil || c.roots == nil {
		return nil, errPSK
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*c.certificate}, NextProtos: alpn, MinVersion: tls.VersionTLS12,
		ClientCAs: c.roots, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

func (c credentials) clientTLS(host string) (*tls.Config, error) {
	if c.certificate == nil || c.roots == nil {
		return nil, errPSK
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*c.certificate}, NextProtos: alpn, MinVersion: tls.VersionTLS12,
		RootCAs: c.roots, ServerName: host,
	}, nil
}

func (c credentials) client(host string) ([]dtls.ClientOption, error) {
	options := []dtls.ClientOption{
		dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()),
	}
	switch {
	case c.key != nil && c.certificate != nil:
		return nil, errors.New("a device has either a PSK or a Certificate")
	case c.key != nil:
		return append(options,
			dtls.WithPSK(func([]byte) ([]byte, error) { return c.key, nil }),
			dtls.WithPSKIdentityHint([]byte(c.identity)),
			dtls.WithCipherSuites(pskSuites...)), nil
	case c.certificate != nil && c.roots != nil:
		return append(options, dtls.WithCertificates(*c.certificate), dtls.WithRootCAs(c.roots),
			dtls.WithServerName(host), dtls.WithCipherSuites(certificateSuites...)), nil
	}
	return nil, errors.New("coaps needs the PSK option, or the Certificate option with roots")
}
