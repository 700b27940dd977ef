package objects

import "github.com/tranquil-iot/tranquil/sdk/lwm2m"

// Resources of Connectivity Monitoring (4).
const (
	ConnectivityBearer          = 0
	ConnectivityBearers         = 1
	ConnectivitySignal          = 2
	ConnectivityLinkQuality     = 3
	ConnectivityAddresses       = 4
	ConnectivityRouterAddresses = 5
)

// Values of ConnectivityBearer and ConnectivityBearers.
const (
	BearerWLAN     = 21
	BearerEthernet = 41
)

// Connectivity is object 4, version 1.0 (OMA LwM2M 1.0).
var Connectivity = lwm2m.Definition{
	ID: ConnectivityID, Name: "Connectivity Monitoring",
	Resources: []lwm2m.Resource{
		{ID: ConnectivityBearer, Name: "Network Bearer", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Mandatory: true},
		{ID: ConnectivityBearers, Name: "Available Network Bearer", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Multiple: true, Mandatory: true},
		{ID: ConnectivitySignal, Name: "Radio Signal Strength", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Mandatory: true, Units: "dBm"},
		{ID: ConnectivityLinkQuality, Name: "Link Quality", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
		{ID: ConnectivityAddresses, Name: "IP Addresses", Operations: lwm2m.R, Kind: lwm2m.KindString, Multiple: true, Mandatory: true},
		{ID: ConnectivityRouterAddresses, Name: "Router IP Addresses", Operations: lwm2m.R, Kind: lwm2m.KindString, Multiple: true},
		{ID: 6, Name: "Link Utilization", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Units: "%"},
		{ID: 7, Name: "APN", Operations: lwm2m.R, Kind: lwm2m.KindString, Multiple: true},
		{ID: 8, Name: "Cell ID", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
		{ID: 9, Name: "SMNC", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Units: "%"},
		{ID: 10, Name: "SMCC", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
	},
}
