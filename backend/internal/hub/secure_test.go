package hub_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// issue makes a certificate by an issuer, or by itself.
func issue(t *testing.T, name string, issuer *tls.Certificate, ends time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(peerHost)}, DNSNames: []string{"localhost"},
		BasicConstraintsValid: true, IsCA: strings.HasSuffix(name, "CA"), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := template, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// store writes a certificate and its key as PEM files.
func storePEM(t *testing.T, dir string, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, c.Leaf.Subject.CommonName+".pem"), filepath.Join(dir, c.Leaf.Subject.CommonName+".key")
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// startTLS starts a hub that speaks TLS, and answers what trusts it and issues certificates of devices.
func startTLS(t *testing.T) (*running, tls.Certificate, *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	ca := issue(t, "CA", nil, time.Now().Add(time.Hour))
	roots, _ := storePEM(t, dir, ca)
	own := issue(t, "localhost", &ca, time.Now().Add(time.Hour))
	h := startWith(t, openStore(t, t.TempDir()), hub.Config{TLS: &tls.Config{Certificates: []tls.Certificate{own}}, DeviceRoots: roots})
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	h.owner.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	t.Cleanup(h.owner.HTTP.CloseIdleConnections)
	return h, ca, pool
}

// TestCertificates has devices prove themselves by certificates: by thumbprint, and by who has issued them.
func TestCertificates(t *testing.T) {
	t.Parallel()
	h, ca, pool := startTLS(t)
	other := issue(t, "other CA", nil, time.Now().Add(time.Hour))
	soon := time.Now().Add(time.Hour)
	known, renewed := issue(t, "anything", nil, soon), issue(t, "anything", nil, soon)
	long, short := sha256.Sum256(known.Leaf.Raw), sha1.Sum(renewed.Leaf.Raw)
	for id, authentication := range map[string]string{
		"printed": `"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"` + hex.EncodeToString(long[:]) + `","secondaryThumbprint":"` + strings.ToUpper(hex.EncodeToString(short[:])) + `"}`,
		"issued":  `"type":"certificateAuthority"`,
		"keyed":   `"type":"sas"`,
	} {
		status, body := h.rest(t, hub.PolicyOwner, "PUT", "/devices/"+id, "", `{"deviceId":"`+id+`","authentication":{`+authentication+`}}`)
		if status != 200 || strings.Contains(body, `"primaryKey":""`) != (id != "keyed") {
			t.Fatal(status, body)
		}
	}
	chain := func(name string, issuer tls.Certificate, ends time.Time) tls.Certificate {
		return issue(t, name, &issuer, ends)
	}
	between := chain("between CA", ca, soon)
	long2 := chain("issued", between, soon)
	long2.Certificate = append(long2.Certificate, between.Certificate...)
	for _, test := range []struct {
		name, id string
		cert     tls.Certificate
		want     error
	}{
		{"SHA-256", "printed", known, nil},
		{"SHA-1, upper case", "printed", renewed, nil},
		{"another certificate", "printed", issue(t, "printed", nil, soon), packets.ErrorRefusedNotAuthorised},
		{"issued, but not the registered one", "printed", chain("printed", ca, soon), packets.ErrorRefusedNotAuthorised},
		{"issued", "issued", chain("issued", ca, soon), nil},
		{"by another in between", "issued", long2, nil},
		{"for another device", "issued", chain("printed", ca, soon), packets.ErrorRefusedNotAuthorised},
		{"by another issuer", "issued", chain("issued", other, soon), packets.ErrorRefusedNotAuthorised},
		{"by itself", "issued", issue(t, "issued", nil, soon), packets.ErrorRefusedNotAuthorised},
		{"expired", "issued", chain("issued", ca, time.Now().Add(-time.Minute)), packets.ErrorRefusedNotAuthorised},
		{"a device that has keys", "keyed", chain("keyed", ca, soon), packets.ErrorRefusedNotAuthorised},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := h.connect(t, connection{
				id: test.id, url: "mqtts://" + h.MQTTAddr(), tls: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{test.cert}},
			})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			d.Disconnect(0)
		})
	}
	t.Run("ends with the certificate", func(t *testing.T) {
		d, err := h.connect(t, connection{
			id: "issued", url: "mqtts://" + h.MQTTAddr(),
			tls: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{chain("issued", ca, time.Now().Add(3*time.Second))}},
		})
		if err != nil {
			t.Fatal(err)
		}
		d.expectLost(t)
	})
}

// TestWebSocket is the whole of a session over WebSocket, with TLS and without.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	secure, _, pool := startTLS(t)
	plain := start(t, t.TempDir())
	for _, test := range []struct {
		*running
		scheme string
	}{{secure, "wss://"}, {plain, "ws://"}} {
		t.Run(test.scheme, func(t *testing.T) {
			h := test.running
			key := h.create(t, "dev1").Authentication.SymmetricKey.PrimaryKey
			c := connection{id: "dev1", url: test.scheme + h.HTTPAddr() + "/$iothub/websocket", tls: &tls.Config{RootCAs: pool}}
			d := h.mustConnect(t, c)
			d.subscribe(t, iothub.TopicTwinResponses, iothub.TopicDesired)
			d.publish(t, iothub.TopicReported+"1", 1, `{"a":1}`)
			d.expect(t, responses+"204/?$rid=1&$version=2", "")
			big := map[string]any{"big": strings.Repeat("x", 4096)}
			if _, err := h.owner.PatchTwin(t.Context(), "dev1", iothub.TwinPatch{Desired: big}, ""); err != nil {
				t.Fatal(err)
			}
			if topic, payload := d.receive(t); !strings.Contains(topic, "desired") || len(payload) < 4096 {
				t.Error(topic, payload)
			}
			next := h.mustConnect(t, c) // takes over
			d.expectLost(t)
			next.Disconnect(0)
			c.password = sign(t, "h/devices/dev1", key, "", 3*time.Second)
			h.mustConnect(t, c).expectLost(t)
			c.password = sign(t, "h/devices/other", key, "", time.Hour)
			if _, err := h.connect(t, c); !errors.Is(err, packets.ErrorRefusedNotAuthorised) {
				t.Error(err)
			}
		})
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+plain.HTTPAddr()+"/$iothub/websocket", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUpgradeRequired {
		t.Error(res.Status)
	}
}
