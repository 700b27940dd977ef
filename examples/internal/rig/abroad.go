package rig

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
)

// StartOpen starts a backend alone, for devices on other networks, which [System.Join]
// has come. It speaks DTLS with them, at all its addresses.
func StartOpen(ctx context.Context, built Built, dir string) (*System, error) {
	s := &System{built: built}
	s.endpoints.Bridge.LwM2M, s.endpoints.Files.CoAP = secureScheme+"[::]:0", secureScheme+"[::]:0"
	return s, s.settle(ctx, dir, s.StartBackend)
}

// Ports are those at which devices find the bridge, and the file server over CoAP.
func (s *System) Ports() (bridge, files uint16) {
	port := func(address string) uint16 {
		at, _ := netip.ParseAddrPort(strings.TrimPrefix(address, secureScheme))
		return at.Port()
	}
	return port(s.endpoints.Bridge.LwM2M), port(s.endpoints.Files.CoAP)
}

// An Abroad is a device on another network.
type Abroad struct {
	Name   string
	Within []string // command that runs the agent there, before its own words
	Server string   // URL at which it finds the bridge
	Files  string   // and the file server
	Agent  []Edit   // of its configuration
}

var (
	serverLine = regexp.MustCompile(`(?m)^server = .*$`)
	filesLine  = regexp.MustCompile(`(?m)^url = .*$`)
)

// Join creates a device, and starts its agent. What is returned is the backend as that
// device has it, with a directory of its own; closing it leaves the backend alone.
func (s *System) Join(ctx context.Context, dir string, d Abroad) (*System, error) {
	joined := *s
	joined.Device, joined.within, joined.Backend, joined.others = d.Name, d.Within, nil, nil
	joined.agent = append([]Edit{func(config string) string {
		config = serverLine.ReplaceAllLiteralString(config, `server = "`+d.Server+`"`)
		return filesLine.ReplaceAllLiteralString(config, `url = "`+d.Files+`"`)
	}}, d.Agent...)
	return &joined, joined.settle(ctx, dir, joined.create, joined.StartAgent)
}
