package lwm2m

// ServerDefinition is object 1, Server, version 1.0: what the Client has about
// the server it belongs to.
var ServerDefinition = Definition{
	ID: 1, Name: "LwM2M Server", Multiple: true,
	Resources: []Resource{
		{ID: 0, Name: "Short Server ID", Operations: R, Kind: KindInteger, Mandatory: true},
		{ID: 1, Name: "Lifetime", Operations: RW, Kind: KindInteger, Mandatory: true, Units: "s"},
		{ID: 2, Name: "Default Minimum Period", Operations: RW, Kind: KindInteger, Units: "s"},
		{ID: 3, Name: "Default Maximum Period", Operations: RW, Kind: KindInteger, Units: "s"},
		{ID: 4, Name: "Disable", Operations: E},
		{ID: 5, Name: "Disable Timeout", Operations: RW, Kind: KindInteger, Units: "s"},
		{ID: 6, Name: "Notification Storing When Disabled or Offline", Operations: RW, Kind: KindBoolean, Mandatory: true},
		{ID: 7, Name: "Binding", Operations: RW, Kind: KindString, Mandatory: true},
		{ID: 8, Name: "Registration Update Trigger", Operations: E, Mandatory: true},
	},
}
