package lwm2m

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// SecurityMode says how a device and a server know each other (object 0,
// resource 2).
type SecurityMode uint8

// The security modes.
const (
	SecurityPSK   SecurityMode = 0 // pre-shared key
	SecurityRPK   SecurityMode = 1 // raw public key
	SecurityX509  SecurityMode = 2 // certificate
	SecurityNoSec SecurityMode = 3 // plaintext
)

// Account is what a device knows about one server: an instance of Security (0)
// and, unless it is a bootstrap server, one of Server (1) with the same short id.
type Account struct {
	URI       string // such as coaps://example.org:5684
	Bootstrap bool   // it gives accounts and manages nothing
	Mode      SecurityMode
	// Identity is the PSK identity, or the device's certificate (DER).
	// ServerKey is the server's certificate or public key (DER).
	// SecretKey is the PSK, or the device's private key (PKCS #8).
	Identity, ServerKey, SecretKey []byte
	ShortID                        uint16        // 1 to 65534
	HoldOff                        time.Duration // before the device asks a bootstrap server
	Lifetime                       time.Duration // of the registration
	MinPeriod, MaxPeriod           time.Duration // of notifications, unless attributes say others; 0 for none
	Binding                        string        // such as "U", "UQ", "T"; "" means "U"
	// StoreNotifications keeps notifications while the server cannot be reached.
	StoreNotifications bool
}

// Records gives the account as instances of objects 0 and 1 with this id.
func (a Account) Records(instance uint16) []Record {
	security := NewPath(SecurityDefinition.ID, instance)
	records := []Record{
		{Path: security.Child(0), Value: String(a.URI)},
		{Path: security.Child(1), Value: Bool(a.Bootstrap)},
		{Path: security.Child(2), Value: Int(int64(a.Mode))},
		{Path: security.Child(3), Value: Opaque(a.Identity)},
		{Path: security.Child(4), Value: Opaque(a.ServerKey)},
		{Path: security.Child(5), Value: Opaque(a.SecretKey)},
		{Path: security.Child(10), Value: Int(int64(a.ShortID))},
	}
	if a.HoldOff > 0 {
		records = append(records, Record{Path: security.Child(11), Value: seconds(a.HoldOff)})
	}
	if a.Bootstrap {
		return records
	}
	if a.Binding == "" {
		a.Binding = "U"
	}
	server := NewPath(ServerDefinition.ID, instance)
	records = append(records,
		Record{Path: server.Child(0), Value: Int(int64(a.ShortID))},
		Record{Path: server.Child(1), Value: seconds(a.Lifetime)},
		Record{Path: server.Child(6), Value: Bool(a.StoreNotifications)},
		Record{Path: server.Child(7), Value: String(a.Binding)},
	)
	for id, d := range map[uint16]time.Duration{2: a.MinPeriod, 3: a.MaxPeriod} {
		if d > 0 {
			records = append(records, Record{Path: server.Child(id), Value: seconds(d)})
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return a.Path.Compare(b.Path) })
	return records
}

func seconds(d time.Duration) Value { return Int(int64(d / time.Second)) }

// ParseAccounts reads accounts from the values of objects 0 and 1, such as
// [Bootstrap] gives them; those of other objects do not count. The error tells
// what does not fit together: a server without its instance of object 1, a short
// id that is there twice, an address that is missing.
func ParseAccounts(records []Record) ([]Account, error) {
	all := newTree(records)
	servers := map[int64]Path{}
	for _, p := range all.instances(ServerDefinition.ID) {
		id := all[p.Child(0)].Value.Int()
		if _, twice := servers[id]; twice || id < 1 || id > 65534 {
			return nil, fmt.Errorf("cannot read accounts: %v has the short server id %d, which is not unique or not from 1 to 65534", p, id)
		}
		servers[id] = p
	}
	var accounts []Account
	for _, p := range all.instances(SecurityDefinition.ID) {
		a, err := all.account(p, servers)
		if err != nil {
			return nil, fmt.Errorf("cannot read account %v: %w", p, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

func (t tree) account(p Path, servers map[int64]Path) (Account, error) {
	value := func(p Path, id uint16) Value { return t[p.Child(id)].Value }
	period := func(p Path, id uint16) time.Duration { return time.Duration(value(p, id).Int()) * time.Second }
	a := Account{
		URI: value(p, 0).Text(), Bootstrap: value(p, 1).Bool(), Mode: SecurityMode(value(p, 2).Int()),
		Identity: value(p, 3).Opaque(), ServerKey: value(p, 4).Opaque(), SecretKey: value(p, 5).Opaque(),
		ShortID: uint16(value(p, 10).Int()), HoldOff: period(p, 11),
	}
	switch server, ok := servers[value(p, 10).Int()]; {
	case a.URI == "":
		return a, errors.New("the server's address is missing")
	case a.Bootstrap:
	case !ok:
		return a, fmt.Errorf("there is no instance of object 1 with the short server id %d", a.ShortID)
	default:
		a.Lifetime, a.Binding, a.StoreNotifications = period(server, 1), value(server, 7).Text(), value(server, 6).Bool()
		a.MinPeriod, a.MaxPeriod = period(server, 2), period(server, 3)
		if a.Lifetime <= 0 {
			return a, errors.New("the lifetime is missing")
		}
	}
	return a, nil
}

// SecurityDefinition is object 0, Security, version 1.0: no server may read it,
// bootstrap servers write it.
var SecurityDefinition = Definition{
	ID: 0, Name: "LwM2M Security", Multiple: true,
	Resources: []Resource{
		{ID: 0, Name: "LwM2M Server URI", Kind: KindString, Mandatory: true},
		{ID: 1, Name: "Bootstrap-Server", Kind: KindBoolean, Mandatory: true},
		{ID: 2, Name: "Security Mode", Kind: KindInteger, Mandatory: true},
		{ID: 3, Name: "Public Key or Identity", Kind: KindOpaque, Mandatory: true},
		{ID: 4, Name: "Server Public Key", Kind: KindOpaque, Mandatory: true},
		{ID: 5, Name: "Secret Key", Kind: KindOpaque, Mandatory: true},
		{ID: 6, Name: "SMS Security Mode", Kind: KindInteger},
		{ID: 7, Name: "SMS Binding Key Parameters", Kind: KindOpaque},
		{ID: 8, Name: "SMS Binding Secret Key(s)", Kind: KindOpaque},
		{ID: 9, Name: "LwM2M Server SMS Number", Kind: KindString},
		{ID: 10, Name: "Short Server ID", Kind: KindInteger},
		{ID: 11, Name: "Client Hold Off Time", Kind: KindInteger, Units: "s"},
		{ID: 12, Name: "Bootstrap-Server Account Timeout", Kind: KindInteger, Units: "s"},
	},
}

// AccessControlDefinition is object 2, Access Control, version 1.0.
var AccessControlDefinition = Definition{
	ID: 2, Name: "LwM2M Access Control", Multiple: true,
	Resources: []Resource{
		{ID: 0, Name: "Object ID", Operations: R, Kind: KindInteger, Mandatory: true},
		{ID: 1, Name: "Object Instance ID", Operations: R, Kind: KindInteger, Mandatory: true},
		{ID: 2, Name: "ACL", Operations: RW, Kind: KindInteger, Multiple: true},
		{ID: 3, Name: "Access Control Owner", Operations: RW, Kind: KindInteger, Mandatory: true},
	},
}
