package iothub

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// ConnectionString tells where a hub is and how to get in, in Azure's text form `Key=Value;Key=Value`.
// It is either a device's (DeviceID), a module's (ModuleID too) or a policy's (PolicyName).
type ConnectionString struct {
	HostName        string // host or host:port; goes into tokens and user names
	GatewayHostName string // connect to this host instead; "" means HostName
	DeviceID        string // whose key this is; "" for a policy
	ModuleID        string // of the device, if it is a module's key
	PolicyName      string // SharedAccessKeyName; "" for a device
	Key             string // SharedAccessKey, base64; a secret
	Insecure        bool   // plaintext instead of TLS: for loopback. Tranquil's own field, unknown to Azure
}

// ParseConnectionString reads Azure's text form. Fields may come in any order, unknown ones are refused.
func ParseConnectionString(text string) (ConnectionString, error) {
	var cs ConnectionString
	for field := range strings.SplitSeq(strings.TrimSpace(text), ";") {
		if field == "" {
			continue
		}
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return ConnectionString{}, errors.New("cannot parse connection string: a field has no '='")
		}
		if err := cs.set(name, value); err != nil {
			return ConnectionString{}, fmt.Errorf("cannot parse connection string: %w", err)
		}
	}
	if err := cs.check(); err != nil {
		return ConnectionString{}, fmt.Errorf("cannot parse connection string: %w", err)
	}
	return cs, nil
}

func (c *ConnectionString) set(name, value string) error {
	switch strings.ToLower(name) {
	case "hostname":
		c.HostName = value
	case "gatewayhostname":
		c.GatewayHostName = value
	case "deviceid":
		c.DeviceID = value
	case "moduleid":
		c.ModuleID = value
	case "sharedaccesskeyname":
		c.PolicyName = value
	case "sharedaccesskey":
		c.Key = value
	case "insecure":
		if value != "true" && value != "false" {
			return errors.New("field Insecure must be true or false")
		}
		c.Insecure = value == "true"
	default:
		return fmt.Errorf("unknown field %q", name)
	}
	return nil
}

func (c *ConnectionString) check() error {
	if c.HostName == "" {
		return errors.New("HostName is missing")
	}
	if (c.DeviceID == "") == (c.PolicyName == "") {
		return errors.New("needs either DeviceId or SharedAccessKeyName")
	}
	if c.ModuleID != "" && c.DeviceID == "" {
		return errors.New("ModuleId needs DeviceId")
	}
	if key, err := base64.StdEncoding.DecodeString(c.Key); err != nil || len(key) == 0 {
		return errors.New("SharedAccessKey is not base64")
	}
	return nil
}

// String formats c so that ParseConnectionString reads it back. It holds the key: do not log it.
func (c ConnectionString) String() string {
	fields := []string{"HostName=" + c.HostName}
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, name+"="+value)
		}
	}
	add("GatewayHostName", c.GatewayHostName)
	add("DeviceId", c.DeviceID)
	add("ModuleId", c.ModuleID)
	add("SharedAccessKeyName", c.PolicyName)
	add("SharedAccessKey", c.Key)
	if c.Insecure {
		add("Insecure", "true")
	}
	return strings.Join(fields, ";")
}

// LogValue keeps the key out of logs.
func (c ConnectionString) LogValue() slog.Value {
	return slog.GroupValue(slog.String("host", c.HostName), slog.String("device", c.DeviceID), slog.String("policy", c.PolicyName))
}

// HTTPURL is the root of the hub's REST interface, without a trailing slash.
func (c ConnectionString) HTTPURL() string {
	if c.Insecure {
		return "http://" + c.connectHost()
	}
	return "https://" + c.connectHost()
}

// MQTTURL is the hub's device endpoint: mqtts, port 8883, or with Insecure mqtt, port 1883.
func (c ConnectionString) MQTTURL() string {
	scheme, port := "mqtts", "8883"
	if c.Insecure {
		scheme, port = "mqtt", "1883"
	}
	host := c.connectHost()
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	return scheme + "://" + host
}

func (c ConnectionString) connectHost() string {
	if c.GatewayHostName != "" {
		return c.GatewayHostName
	}
	return c.HostName
}

// DeviceToken is the MQTT password. A device's or module's token covers that one; a policy's covers all devices
// (`{host}/devices`), which is how a gateway connects on behalf of many.
func (c ConnectionString) DeviceToken(expiry time.Time) (string, error) {
	resource := c.HostName + "/devices"
	if c.DeviceID != "" {
		resource += "/" + c.DeviceID
	}
	if c.ModuleID != "" {
		resource += "/modules/" + c.ModuleID
	}
	return SignToken(resource, c.Key, c.PolicyName, expiry)
}

// ServiceToken is the Authorization header of the REST interface; c must be a policy's.
func (c ConnectionString) ServiceToken(expiry time.Time) (string, error) {
	if c.PolicyName == "" {
		return "", errors.New("cannot sign service token: connection string is a device's, use a policy's")
	}
	return SignToken(c.HostName, c.Key, c.PolicyName, expiry)
}
