package objects

import "github.com/tranquil-iot/tranquil/sdk/lwm2m"

// Resources of Server (1).
const (
	ServerShortID            = 0
	ServerLifetime           = 1
	ServerDefaultMinPeriod   = 2
	ServerDefaultMaxPeriod   = 3
	ServerDisable            = 4
	ServerDisableTimeout     = 5
	ServerStoreNotifications = 6
	ServerBinding            = 7
	ServerUpdateTrigger      = 8
	ServerMuteSend           = 23
)

// Server is object 1; the Client provides it by itself.
var Server = lwm2m.ServerDefinition
