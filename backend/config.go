package main

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/settings"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// A config is the backend's configuration file (TOML). Without one everything
// listens on loopback only.
type config struct {
	Data   string       `toml:"data"` // directory of all that must survive
	Hub    hubConfig    `toml:"hub"`
	Files  filesConfig  `toml:"files"`
	Bridge bridgeConfig `toml:"bridge"`
	Web    webConfig    `toml:"web"`
	Enrol  enrolConfig  `toml:"enrol"`
}

type webConfig struct {
	HTTPS string   `toml:"https"` // listen address of the operator's pages and API; "" none
	Cert  string   `toml:"cert"`  // PEM files; "" is a certificate of an authority of this backend's own
	Key   string   `toml:"key"`
	Names []string `toml:"names"` // that the certificate is for, beside this machine's
}

type hubConfig struct {
	MQTT     string `toml:"mqtt"` // listen address for devices
	HTTP     string `toml:"http"` // for applications
	Cert     string `toml:"cert"` // PEM files; with them both speak TLS
	Key      string `toml:"key"`
	Roots    string `toml:"roots"`    // PEM file: issuers of the devices' certificates
	Store    string `toml:"store"`    // NATS servers that several hubs share, as nats://user:password@a,nats://b; "" is one in this process
	Insecure bool   `toml:"insecure"` // allow plaintext beyond this machine

	Overdue settings.Duration `toml:"overdue"` // by so much an update may be late before its device's state is malfunction
}

func (c hubConfig) check() error {
	if c.Overdue <= 0 {
		return settings.In("overdue", fmt.Errorf("%v is not above 0", c.Overdue))
	}
	return nil
}

type filesConfig struct {
	HTTP     string `toml:"http"`
	CoAP     string `toml:"coap"`     // "coaps://0.0.0.0:5684" is DTLS, "127.0.0.1:5685" plaintext
	TCP      string `toml:"tcp"`      // CoAP over TCP: "coaps+tcp://0.0.0.0:5684" is TLS, "coap+tcp://127.0.0.1:5685" plaintext; "" none
	Registry string `toml:"registry"` // as the bridge's, for DTLS
	Roots    string `toml:"roots"`    // issuers of the devices' certificates, for DTLS and TLS with cert and key
	Cert     string `toml:"cert"`
	Key      string `toml:"key"`
	Insecure bool   `toml:"insecure"` // allow plaintext beyond this machine: the publisher's token can be read

	Store         string `toml:"store"`          // an OCI registry that has the packages, "https://registry.example.org/prefix"; "" has them here
	StoreUser     string `toml:"store_user"`     // of that
	StorePassword string `toml:"store_password"` // file with the password, readable by its owner alone

	Keep     int     `toml:"keep"`      // packages of a component, those pushed last and the newest; 0 is all
	Deltas   int     `toml:"deltas"`    // of so many versions before a package deltas to it are made; 0 is none
	Quota    int64   `toml:"quota"`     // bytes of all packages and uploads; 0 is no bound
	HTTPRate float64 `toml:"http_rate"` // requests a second and source address; 0 is 200

	OnlineKey string `toml:"online_key"` // pkcs11:… or exec:…, the key of snapshot and timestamp; "" has it in a file
}

func (c filesConfig) check() error {
	if err := checkTCP(c.TCP); err != nil {
		return err
	}
	if c.OnlineKey != "" && !trust.IsElsewhere(c.OnlineKey) {
		return settings.In("online_key", errors.New("want pkcs11:… or exec:…; a key in a file is DIR/files/trust/online.key"))
	}
	for key, negative := range map[string]bool{"keep": c.Keep < 0, "deltas": c.Deltas < 0, "quota": c.Quota < 0, "http_rate": c.HTTPRate < 0} {
		if negative {
			return settings.In(key, errors.New("cannot be negative"))
		}
	}
	return nil
}

type bridgeConfig struct {
	LwM2M    string `toml:"lwm2m"`    // UDP listen address: "coaps://0.0.0.0:5684" is DTLS, "127.0.0.1:5683" plaintext
	TCP      string `toml:"tcp"`      // TCP listen address beside it: "coaps+tcp://0.0.0.0:5684" is TLS, "coap+tcp://127.0.0.1:5683" plaintext; "" none
	Hub      string `toml:"hub"`      // connection string of a policy that may connect devices; "" is the hub of this process
	Registry string `toml:"registry"` // connection string of a policy that may see keys, for DTLS; "" is the hub of this process
	Cert     string `toml:"cert"`     // PEM files, for devices that have certificates
	Key      string `toml:"key"`
	Roots    string `toml:"roots"`    // issuers of the devices' certificates
	Insecure bool   `toml:"insecure"` // allow plaintext beyond this machine: anyone there can be any device

	// For devices that have no agent and are updated by objects 5 and 9.
	Files    []string `toml:"files"`    // where they reach the file server, such as "https://files.example.org"; by default the file server of this process
	Packages string   `toml:"packages"` // where the bridge reads packages; "" is the file server of this process

	Objects string `toml:"objects"` // folder with definitions of objects, in OMA's XML, beside those that are known

	MaxDevices  int               `toml:"max_devices"`  // registered at once; more are refused with 5.03
	MaxLifetime settings.Duration `toml:"max_lifetime"` // of a registration; a longer one is refused with 4.00
}

func checkTCP(address string) error {
	if scheme, _, _ := strings.Cut(address, "://"); address != "" && scheme != "coap+tcp" && scheme != "coaps+tcp" {
		return settings.In("tcp", fmt.Errorf("%q is no address such as coaps+tcp://0.0.0.0:5684", address))
	}
	return nil
}

func (c bridgeConfig) check() error {
	if c.MaxDevices <= 0 {
		return settings.In("max_devices", fmt.Errorf("%d is not above 0", c.MaxDevices))
	}
	if c.MaxLifetime < settings.Duration(time.Minute) {
		return settings.In("max_lifetime", fmt.Errorf("%v is below 1m", c.MaxLifetime))
	}
	if err := checkTCP(c.TCP); err != nil {
		return err
	}
	for _, address := range append([]string{c.Packages}, c.Files...) {
		if u, err := url.Parse(address); err != nil || address != "" && u.Host == "" {
			return fmt.Errorf("%q is no address such as https://files.example.org", address)
		}
	}
	return nil
}

// readConfig reads a file, if there is one, over the defaults; data, if given,
// wins over the file.
func readConfig(path, data string) (config, error) {
	c := config{
		Data:   "tranquil-data",
		Hub:    hubConfig{MQTT: "127.0.0.1:1883", HTTP: "127.0.0.1:8080", Overdue: settings.Duration(hub.DefaultGrace)},
		Files:  filesConfig{HTTP: "127.0.0.1:8081", CoAP: "127.0.0.1:5685", Deltas: 3},
		Web:    webConfig{HTTPS: "127.0.0.1:9443"},
		Bridge: bridgeConfig{LwM2M: "127.0.0.1:5683", MaxDevices: 10_000, MaxLifetime: settings.Duration(31 * 24 * time.Hour)},
	}
	var file *settings.File
	if path != "" {
		var err error
		if file, err = settings.Read(path, &c); err != nil {
			return c, fmt.Errorf("cannot read configuration: %w", err)
		}
	}
	if data != "" {
		c.Data = data
	}
	abs, err := filepath.Abs(c.Data)
	c.Data = abs
	return c, errors.Join(err, file.Place(errors.Join(settings.In("hub", c.Hub.check()), settings.In("files", c.Files.check()), settings.In("bridge", c.Bridge.check()))))
}
