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

// Security is object 0 (LwM2M 1.0, its plain resources).
var Security = lwm2m.Definition{
	ID: SecurityID, Name: "LwM2M Security", Multiple: true,
	Resources: []lwm2m.Resource{
		{ID: SecurityServerURI, Name: "LwM2M Server URI", Kind: lwm2m.KindString, Mandatory: true},
		{ID: SecurityBootstrap, Name: "Bootstrap-Server", Kind: lwm2m.KindBoolean, Mandatory: true},
		{ID: SecurityMode, Name: "Security Mode", Kind: lwm2m.KindInteger, Mandatory: true},
		{ID: SecurityPublicKey, Name: "Public Key or Identity", Kind: lwm2m.KindOpaque, Mandatory: true},
		{ID: SecurityServerKey, Name: "Server Public Key", Kind: lwm2m.KindOpaque, Mandatory: true},
		{ID: SecuritySecretKey, Name: "Secret Key", Kind: lwm2m.KindOpaque, Mandatory: true},
		{ID: SecurityShortServerID, Name: "Short Server ID", Kind: lwm2m.KindInteger},
		{ID: SecurityClientHoldOff, Name: "Client Hold Off Time", Kind: lwm2m.KindInteger, Units: "s"},
	},
}
