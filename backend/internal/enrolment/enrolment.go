// Package enrolment has devices become the backend's: it makes invitations, and takes
// each of them once.
package enrolment

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/enrol"
)

// Life is how long an invitation is good for.
const Life = 24 * time.Hour

// Records keep invitations, for Life; *store.Records does.
type Records interface {
	Get(ctx context.Context, id string) (text []byte, revision uint64, err error) // fs.ErrNotExist
	Put(ctx context.Context, id string, text []byte, revision uint64) error       // 0: new; fs.ErrExist: somebody was faster
}

// Ledger writes down who changes what before it is done; *audit.Log is one.
type Ledger interface {
	Change(ctx context.Context, action, object string, detail any, do func() error) error
}

// A Desk is where devices are invited and come to.
type Desk struct {
	Invitations Records
	Ledger      Ledger
	Authority   []byte                                                   // SHA-256 of the certificate of the pages' authority; none if it is one that all know
	Key         func(ctx context.Context, device string) (string, error) // of a device that there is, base64
	Own         func(host string) bool                                   // whether a host is this backend
	Places      func(host string) (server, files string, err error)      // for a device that has reached host
	Root        func() ([]byte, error)                                   // what packages are trusted by; nil: nothing yet
}

// An invitation as it is kept: no secret in it.
type invitation struct {
	Device  string    `json:"device"`
	Host    string    `json:"host"` // where the operator has reached the backend, without port
	Expires time.Time `json:"expires"`
	Claim   string    `json:"claim,omitempty"` // digest of what the device brought that was first
}

// Invited is what an operator gets.
type Invited struct {
	Device  string    `json:"device"`
	Address string    `json:"address"` // a secret: whoever has it can become the device
	Command string    `json:"command"` // to be said on the device
	Expires time.Time `json:"expires"`
}

// Invite makes an invitation for a device. The operator has reached the backend at
// an address, so the device may as well; but only at one that is the backend's own, whatever the request says.
func (d *Desk) Invite(ctx context.Context, device, address string) (Invited, error) {
	host := hostOf(address)
	if !d.Own(host) {
		return Invited{}, twin.ArgumentInvalid.With("this backend was reached as %.100q, which is none of its names: the device needs one of them, so use another address, or add that one to names of [web]", host)
	}
	if _, err := d.Key(ctx, device); err != nil {
		return Invited{}, err
	}
	if _, _, err := d.Places(host); err != nil {
		return Invited{}, err
	}
	token := rand.Text()
	kept := invitation{Device: device, Host: host, Expires: time.Now().Add(Life).UTC().Truncate(time.Second)}
	text, err := json.Marshal(kept)
	if err != nil {
		return Invited{}, err
	}
	err = d.Ledger.Change(ctx, "device.invite", device, nil, func() error { return d.Invitations.Put(ctx, digest(token), text, 0) })
	url := enrol.Invitation{Host: address, Token: token, Authority: d.Authority}.String()
	return Invited{Device: device, Address: url, Command: "tranquil-agent enrol " + url, Expires: kept.Expires}, err
}

// Take exchanges an invitation for all that the device needs; twin.Unauthorized if it
// is none, has expired, or another device has come with it.
func (d *Desk) Take(ctx context.Context, r enrol.Request) (enrol.Grant, error) {
	unknown := twin.Unauthorized.With("the invitation is unknown, was used by another device, or has expired: an operator can make a new one")
	if r.Token == "" || len(r.Claim) < 16 {
		return enrol.Grant{}, unknown
	}
	text, revision, err := d.Invitations.Get(ctx, digest(r.Token))
	if errors.Is(err, fs.ErrNotExist) {
		return enrol.Grant{}, unknown
	}
	var kept invitation
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	claim := digest(r.Claim)
	switch {
	case err != nil:
		return enrol.Grant{}, err
	case time.Now().After(kept.Expires), kept.Claim != "" && subtle.ConstantTimeCompare([]byte(kept.Claim), []byte(claim)) != 1:
		return enrol.Grant{}, unknown
	case kept.Claim != "":
		return d.grant(ctx, kept)
	}
	kept.Claim = claim
	if text, err = json.Marshal(kept); err != nil {
		return enrol.Grant{}, err
	}
	err = d.Ledger.Change(ctx, "device.enrol", kept.Device, map[string]string{"agent": r.Version}, func() error { return d.Invitations.Put(ctx, digest(r.Token), text, revision) })
	if errors.Is(err, fs.ErrExist) {
		return enrol.Grant{}, unknown // another device was faster
	}
	if err != nil {
		return enrol.Grant{}, err
	}
	return d.grant(ctx, kept)
}

func (d *Desk) grant(ctx context.Context, kept invitation) (enrol.Grant, error) {
	text, err := d.Key(ctx, kept.Device)
	if err != nil {
		return enrol.Grant{}, err
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return enrol.Grant{}, fmt.Errorf("the key of %s is not base64: %w", kept.Device, err)
	}
	server, files, err := d.Places(kept.Host)
	if err != nil {
		return enrol.Grant{}, err
	}
	root, err := d.Root()
	return enrol.Grant{Device: kept.Device, Server: server, Key: key, Files: files, Root: root}, err
}

// hostOf is an address without its port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
