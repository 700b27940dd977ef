// Package twin is the hub's domain: a device, its twin, and the rules by which patches change it.
// A twin has tags (the back end's), desired properties (what the back end wants) and reported properties (what the
// device says). All functions are pure and answer new values; limits and error codes are Azure IoT Hub's.
package twin

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"time"
)

// Device is everything the hub knows of one device.
type Device struct {
	ID            string     `json:"id"`
	Generation    string     `json:"generation"` // differs after delete and create
	Revision      uint64     `json:"revision"`   // of the identity: its etag
	Disabled      bool       `json:"disabled,omitempty"`
	StatusReason  string     `json:"statusReason,omitempty"`
	StatusUpdated time.Time  `json:"statusUpdated,omitzero"`
	Keys          Keys       `json:"keys"`
	Twin          Twin       `json:"twin"`
	Connection    Connection `json:"connection"`
}

// Keys are the device's two secrets, base64, both valid.
type Keys struct {
	Primary   string `json:"primary"`
	Secondary string `json:"secondary"`
}

// Connection is the device's MQTT connection and what outlives it.
type Connection struct {
	Connected    bool      `json:"connected,omitempty"`
	Updated      time.Time `json:"updated,omitzero"`
	LastActivity time.Time `json:"lastActivity,omitzero"` // known when a connection begins and ends
	// Session tells that the device connected with clean session 0: its Subscriptions survive the connection.
	Session       bool  `json:"session,omitempty"`
	Subscriptions uint8 `json:"subscriptions,omitempty"` // bits, the hub's
}

// Twin is the document of a device.
type Twin struct {
	Version  int64          `json:"version"` // grows with every change
	Revision uint64         `json:"revision"`
	Tags     map[string]any `json:"tags,omitempty"`
	Desired  Section        `json:"desired"`
	Reported Section        `json:"reported"`
}

// Section is one half of the properties. Numbers are json.Number, so that they stay as they were written.
type Section struct {
	Values   map[string]any `json:"values,omitempty"`
	Metadata map[string]any `json:"metadata"` // mirrors Values: $lastUpdated and, where desired, $lastUpdatedVersion
	Version  int64          `json:"version"`  // starts at 1, grows with every accepted change
}

// Types of Event.
const (
	TwinChanged  = "twinChanged"
	Connected    = "deviceConnected"
	Disconnected = "deviceDisconnected"
	Created      = "deviceCreated"
	Deleted      = "deviceDeleted"
	Telemetry    = "telemetry"
)

// Event says that something happened to a device.
type Event struct {
	Sequence uint64          `json:"-"` // position in the log, set by it; grows by at least 1
	Type     string          `json:"type"`
	Device   string          `json:"device"`
	Time     time.Time       `json:"time"`
	Body     json.RawMessage `json:"body,omitempty"`
}

// New makes a device that was never connected, with an empty twin.
func New(id string, now time.Time) Device {
	return Device{
		ID:         id,
		Revision:   1,
		Generation: now.UTC().Format("20060102150405.000000000"),
		Twin:       newTwin(now),
	}
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9\-.+%_#*?!(),:=@$']{1,128}$`)

// CheckID answers an error if id cannot be a device's: 1 to 128 of letters, digits and - . + % _ # * ? ! ( ) , : = @ $ '.
func CheckID(id string) error {
	if !idForm.MatchString(id) {
		return ArgumentInvalid.With("device id %.140q: only 1 to 128 of A-Z a-z 0-9 - . + %% _ # * ? ! ( ) , : = @ $ ' are allowed", id)
	}
	return nil
}

// CheckKey answers an error unless key is base64 of 16 to 64 bytes.
func CheckKey(key string) error {
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(secret) < 16 || len(secret) > 64 {
		return ArgumentInvalid.With("a key must be base64 of 16 to 64 bytes")
	}
	return nil
}
