// Package enrol is what a device and a backend say to each other when the device
// becomes one of the backend's: an operator has the backend make an invitation, and
// hands it to the device, which exchanges it, once, for all that it needs.
package enrol

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Path is where a backend takes invitations: POST, a [Request] for a [Grant], as JSON.
const Path = "/api/v1/enrolment"

// page is what the address of an invitation begins with.
const page = "/enrol/"

// An Invitation is an address that people can copy, with nothing in it that a shell
// would take for its own: https://hub.example.org:9443/enrol/TOKEN.AUTHORITY
type Invitation struct {
	Host      string // and port
	Token     string // a secret, for one device and one time
	Authority []byte // SHA-256 of the certificate of who vouches for the backend's; none: whomever the device trusts anyway
}

// String writes the address. Whoever has it can become the device.
func (i Invitation) String() string {
	text := "https://" + i.Host + page + i.Token
	if len(i.Authority) > 0 {
		text += "." + hex.EncodeToString(i.Authority)
	}
	return text
}

// Parse reads the address of an invitation.
func Parse(text string) (Invitation, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || !strings.HasPrefix(u.Path, page) {
		return Invitation{}, errors.New("this is no invitation, which looks like https://hub.example.org:9443/enrol/TOKEN.AUTHORITY")
	}
	token, authority, _ := strings.Cut(strings.TrimPrefix(u.Path, page), ".")
	i := Invitation{Host: u.Host, Token: token}
	if i.Authority, err = hex.DecodeString(authority); err != nil || token == "" || len(i.Authority) != 0 && len(i.Authority) != 32 {
		return Invitation{}, errors.New("this invitation is cut off, or was changed: copy it as a whole")
	}
	return i, nil
}

// A Request is what a device brings.
type Request struct {
	Token string `json:"token"`
	// Claim is a secret of the device's own. Whoever brought one first may ask again,
	// as after an answer that was lost; nobody else may.
	Claim   string `json:"claim"`
	Version string `json:"version"` // of the agent
}

// A Grant is all that a device needs.
type Grant struct {
	Device string          `json:"device"`         // its id, and endpoint name
	Server string          `json:"server"`         // LwM2M server, "coaps://hub.example.org:5684"
	Key    []byte          `json:"key"`            // that it proves itself with, by DTLS; none if the server is plaintext
	Files  string          `json:"files"`          // file server, "coaps://hub.example.org:5685"
	Root   json.RawMessage `json:"root,omitempty"` // what packages are trusted by (TUF root metadata); none: nobody has signed anything yet
}

// Check tells what a device cannot use.
func (g Grant) Check() error {
	for name, address := range map[string]string{"LwM2M": g.Server, "file": g.Files} {
		if u, err := url.Parse(address); err != nil || u.Host == "" {
			return fmt.Errorf("the backend says no address of its %s server, but %.80q", name, address)
		}
	}
	switch secure := strings.HasPrefix(g.Server, "coaps"); {
	case g.Device == "":
		return errors.New("the backend does not say which device this is")
	case secure && (len(g.Key) < 16 || len(g.Key) > 64):
		return fmt.Errorf("the key of %d bytes cannot be used with DTLS here: 16 to 64", len(g.Key))
	}
	return nil
}
