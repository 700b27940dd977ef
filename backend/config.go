package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// A config is the backend's configuration file (TOML). Without one everything
// listens on loopback only.
type config struct {
	Data   string       `toml:"data"` // directory of all that must survive
	Hub    hubConfig    `toml:"hub"`
	Files  filesConfig  `toml:"files"`
	Bridge bridgeConfig `toml:"bridge"`
}

type hubConfig struct {
	MQTT     string `toml:"mqtt"` // listen address for devices
	HTTP     string `toml:"http"` // for applications
	Cert     string `toml:"cert"` // PEM files; with them both speak TLS
	Key      string `toml:"key"`
	Insecure bool   `toml:"insecure"` // allow plaintext beyond this machine
}

type filesConfig struct {
	HTTP     string `toml:"http"`
	CoAP     string `toml:"coap"`
	Cert     string `toml:"cert"`
	Key      string `toml:"key"`
	Insecure bool   `toml:"insecure"` // allow plaintext beyond this machine: the publisher's token can be read
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

	MaxDevices  int      `toml:"max_devices"`  // registered at once; more are refused with 5.03
	MaxLifetime duration `toml:"max_lifetime"` // of a registration; a longer one is refused with 4.00
}

// A duration is written as in "90s".
type duration time.Duration

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

func (c bridgeConfig) check() error {
	if c.MaxDevices <= 0 || c.MaxLifetime < duration(time.Minute) {
		return errors.New("bridge: max_devices must be above 0, and max_lifetime not below 1m")
	}
	if scheme, _, _ := strings.Cut(c.TCP, "://"); c.TCP != "" && scheme != "coap+tcp" && scheme != "coaps+tcp" {
		return fmt.Errorf("bridge: tcp %q is no address such as coaps+tcp://0.0.0.0:5684", c.TCP)
	}
	for _, address := range append([]string{c.Packages}, c.Files...) {
		if u, err := url.Parse(address); err != nil || address != "" && u.Host == "" {
			return fmt.Errorf("bridge: %q is no address such as https://files.example.org", address)
		}
	}
	return nil
}

// readConfig reads a file, if there is one, over the defaults; data, if given,
// wins over the file.
func readConfig(path, data string) (config, error) {
	c := config{
		Data:   "tranquil-data",
		Hub:    hubConfig{MQTT: "127.0.0.1:1883", HTTP: "127.0.0.1:8080"},
		Files:  filesConfig{HTTP: "127.0.0.1:8081", CoAP: "127.0.0.1:5685"},
		Bridge: bridgeConfig{LwM2M: "127.0.0.1:5683", MaxDevices: 10_000, MaxLifetime: duration(31 * 24 * time.Hour)},
	}
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("cannot read configuration: %w", err)
		}
		if err := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields().Decode(&c); err != nil {
			var strict *toml.StrictMissingError
			if errors.As(err, &strict) {
				return c, fmt.Errorf("cannot read configuration %s: unknown key:\n%s", path, strict.String())
			}
			return c, fmt.Errorf("cannot read configuration %s: %w", path, err)
		}
	}
	if data != "" {
		c.Data = data
	}
	abs, err := filepath.Abs(c.Data)
	c.Data = abs
	return c, errors.Join(err, c.Bridge.check())
}
