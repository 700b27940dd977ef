package engine

import (
	"errors"
	"io"
)

// A Delivery is a package that a server brings by the standard LwM2M objects,
// Firmware Update and Software Management: first the bytes, later the wish to
// install them. It is part of the [Wishes], so that the two change together.
type Delivery struct {
	Number int    `json:"number,omitempty"` // counts them
	State  string `json:"state,omitempty"`  // one of the constants below; "" there is none
	Result string `json:"result,omitempty"` // of what was asked for last; one of the constants below
	Reason string `json:"reason,omitempty"` // for a failure, in words
	Since  int64  `json:"since,omitempty"`  // of State, in Unix seconds

	URI      string `json:"uri,omitempty"` // where the package is pulled from; "" it is pushed
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Package  string `json:"package,omitempty"` // digest, as soon as it is known
	Version  string `json:"version,omitempty"` // of that
	Wish     Wish   `json:"wish,omitzero"`     // that it has become

	Upgrades string `json:"upgrades,omitempty"` // digest of the installed package, which was to make way for an upgrade
}

// States of a delivery.
const (
	Downloading = "downloading"
	Downloaded  = "downloaded" // all is here, and is being verified
	Delivered   = "delivered"  // ready to be installed
	Installing  = "installing"
	Removing    = "removing" // the component
)

// Results of a delivery: the difference that the standard objects make between
// failures.
const (
	NoStorage       = "storage"
	NoMemory        = "memory"
	ConnectionLost  = "connection"
	BadIntegrity    = "integrity"
	Unsupported     = "unsupported" // no package, or one that does not fit the component or the device
	BadURI          = "uri"
	NotFound        = "not found"
	BadProtocol     = "protocol"
	DeviceError     = "device"
	InstallFailed   = "install"
	UninstallFailed = "uninstall"
	CancelledByUser = "cancelled"
	Succeeded       = "succeeded"
)

// Why a server cannot deliver.
var (
	ErrNotNow = errors.New("not allowed in this state")
	ErrNoRoom = errors.New("the package does not fit the disk")
)

// Vacant reports whether a package may be delivered by an object that has to
// uninstall what is installed first: nothing is, or it has made way.
func (v View) Vacant() bool {
	d := v.Delivery
	makesWay := d.Upgrades != "" && d.Upgrades == v.Installed.Digest
	return d.State == "" && (v.Installed.Version == "" || makesWay)
}

// A Push takes the bytes of a package as a server sends them: Write, and in the
// end Close or Abort.
type Push interface {
	io.WriteCloser
	Abort(cause error)
}
