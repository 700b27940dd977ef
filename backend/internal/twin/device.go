// Package twin is the hub's domain: a device, its twin, and the rules by which patches change it.
// A twin has tags (the back end's), desired properties (what the back end wants) and reported properties (what the
// device says). All functions are pure and answer new values; limits and error codes are Azure IoT Hub's.
package twin

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// Device is everything the hub knows of one device, or of one module of a device: a module has an identity, a twin and a
// connection of its own, and the ID `{device}/{module}`.
type Device struct {
	ID             string     `json:"id"`
	Generation     string     `json:"generation"` // differs after delete and create
	Revision       uint64     `json:"revision"`   // of the identity: its etag
	Disabled       bool       `json:"disabled,omitempty"`
	StatusReason   string     `json:"statusReason,omitempty"`
	StatusUpdated  time.Time  `json:"statusUpdated,omitzero"`
	Authentication string     `json:"authentication,omitempty"` // how it proves who it is; "" is ByKey
	Keys           Pair       `json:"keys"`                     // secrets, base64, both valid
	Thumbprints    Pair       `json:"thumbprints,omitzero"`     // of certificates, SHA-1 or SHA-256 in hexadecimal
	Twin           Twin       `json:"twin"`
	Connection     Connection `json:"connection"`
	// Applied are the paths of desired properties that configurations have set, and which; Configurations whose condition
	// it fulfils, and whether they take effect.
	Applied        map[string]string `json:"applied,omitempty"`
	Configurations map[string]string `json:"configurations,omitempty"`
	// Overdue is there while an update of the device should have been over long ago.
	Overdue *Overdue `json:"overdue,omitempty"`
}

// Overdue is what the hub remembers while it says of a device, in its twin, that it is broken.
type Overdue struct {
	Component string    `json:"component"`      // whose update it is
	Until     time.Time `json:"until"`          // when that was to be over
	Said      any       `json:"said"`           // the state by the device's own words; nil: it says nothing of it
	Full      bool      `json:"full,omitempty"` // the twin has no room to say so
}

// Ways to prove who one is, as Azure names them.
const (
	ByKey         = "sas"
	ByThumbprint  = "selfSigned"
	ByCertificate = "certificateAuthority"
	ByNothing     = "none" // a module of the back end's
)

// Pair is two of a kind, so that one can be replaced while the other is in use.
type Pair struct {
	Primary   string `json:"primary"`
	Secondary string `json:"secondary"`
}

// ModuleID is the ID of a module.
func ModuleID(device, module string) string { return device + "/" + module }

// Split takes an ID apart; module is "" for a device.
func Split(id string) (device, module string) {
	device, module, _ = strings.Cut(id, "/")
	return device, module
}

// Connection is the device's MQTT connection and what outlives it.
type Connection struct {
	Connected    bool      `json:"connected,omitempty"`
	Updated      time.Time `json:"updated,omitzero"`
	LastActivity time.Time `json:"lastActivity,omitzero"` // known when a connection begins and ends
	Node         string    `json:"node,omitempty"`        // the hub process that has it, or had it last
	Epoch        uint64    `json:"epoch,omitempty"`       // grows with each connection: an earlier one has nothing more to say
	// Session tells that the device connected with clean session 0: its Subscriptions survive the connection.
	Session       bool  `json:"session,omitempty"`
	Subscriptions uint8 `json:"subscriptions,omitempty"` // bits, the hub's
	// Deliveries counts how often commands of the queue have been delivered and not acknowledged, by sequence.
	Deliveries map[uint64]int `json:"deliveries,omitempty"`
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

	// Of an update of a component, as its device reports it.
	UpdateStarted  = "updateStarted"
	UpdatePhase    = "updatePhase" // another phase, or it turns back, waits for something, or takes until another time
	UpdateFinished = "updateFinished"
	UpdateFailed   = "updateFailed"
	UpdateOverdue  = "updateOverdue" // it was to be over some time ago: the device is taken for broken
)

// EventTypes are all of them.
var EventTypes = []string{
	TwinChanged, Connected, Disconnected, Created, Deleted, Telemetry,
	UpdateStarted, UpdatePhase, UpdateFinished, UpdateFailed, UpdateOverdue,
}

// Event says that something happened to a device.
type Event struct {
	Sequence uint64          `json:"-"` // position in the log, set by it; grows by at least 1
	Lost     uint64          `json:"-"` // events that the log had dropped before its reader came for them
	Type     string          `json:"type"`
	Device   string          `json:"device"`
	Time     time.Time       `json:"time"`
	Body     json.RawMessage `json:"body,omitempty"`
	Then     []Event         `json:"then,omitempty"` // what the same change means beside, told right after it
	Once     string          `json:"-"`              // of several with the same of one device within some minutes one is kept; "": each
}

// New makes a device that was never connected, with an empty twin.
func New(id string, now time.Time) Device {
	return Device{
		ID:         id,
		Revision:   1,
		Generation: now.UTC().Format(generationForm),
		Twin:       newTwin(now),
	}
}

const generationForm = "20060102150405.000000000"

// Registered is when a device was made, the zero time if its generation was not made here.
func (d Device) Registered() time.Time {
	at, _ := time.Parse(generationForm, d.Generation)
	return at
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9\-.+%_#*?!(),:=@$']{1,128}$`)

// CheckID answers an error if id cannot be a device's: 1 to 128 of letters, digits and - . + % _ # * ? ! ( ) , : = @ $ '.
func CheckID(id string) error {
	if !idForm.MatchString(id) {
		return ArgumentInvalid.With("device id %.140q: only 1 to 128 of A-Z a-z 0-9 - . + %% _ # * ? ! ( ) , : = @ $ ' are allowed", id)
	}
	return nil
}

// CheckThumbprint answers an error unless text is SHA-1 or SHA-256 in hexadecimal.
func CheckThumbprint(text string) error {
	digest, err := hex.DecodeString(text)
	if err != nil || len(digest) != 20 && len(digest) != 32 {
		return ArgumentInvalid.With("a thumbprint must be 40 or 64 hexadecimal digits, SHA-1 or SHA-256 of the certificate")
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
