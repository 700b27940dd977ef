package objects

import "github.com/tranquil-iot/tranquil/sdk/lwm2m"

// Resources of Security (0). No server may read this object.
const (
	SecurityServerURI     = 0
	SecurityBootstrap     = 1
	SecurityMode          = 2
	SecurityPublicKey     = 3
	SecurityServerKey     = 4
	SecuritySecretKey     = 5
	SecurityShortServerID = 10
	SecurityClientHoldOff = 11
)

// Values of SecurityMode.
const (
	SecurityModePSK   = 0
	SecurityModeX509  = 2
	SecurityModeNoSec = 3
)

// Security is object 0, in package lwm2m since bootstrap is there.
var Security = lwm2m.SecurityDefinition
