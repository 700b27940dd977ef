package device

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// Object 4, Connectivity Monitoring, as far as the system tells. Nothing is
// known of a radio's signal.
type connectivity struct{ *objects.Memory }

func newConnectivity() connectivity {
	c := connectivity{objects.NewMemory(objects.Connectivity)}
	c.look()
	return c
}

// Read implements [lwm2m.Object].
func (c connectivity) Read(ctx context.Context, p lwm2m.Path) ([]lwm2m.Record, error) {
	c.look()
	return c.Memory.Read(ctx, p)
}

// look takes over which networks there are now. A device that is connected to
// none but itself has the address of the loopback, and no bearer.
func (c connectivity) look() {
	var bearers []int64
	var addresses, local []string
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		own, _ := i.Addrs()
		if i.Flags&net.FlagUp == 0 || len(own) == 0 {
			continue
		}
		if i.Flags&net.FlagLoopback != 0 {
			local = append(local, plain(own)...)
			continue
		}
		addresses = append(addresses, plain(own)...)
		if b := bearer(i.Name); b != 0 && !slices.Contains(bearers, b) {
			bearers = append(bearers, b)
		}
	}
	if len(addresses) == 0 {
		addresses = local
	}
	list(c, objects.ConnectivityBearers, bearers, lwm2m.Int)
	list(c, objects.ConnectivityAddresses, addresses, lwm2m.String)
	c.Remove(lwm2m.NewPath(objects.ConnectivityID, 0, objects.ConnectivityBearer))
	if len(bearers) > 0 {
		c.SetValue(0, objects.ConnectivityBearer, lwm2m.Int(bearers[0]))
	}
}

func plain(addresses []net.Addr) (texts []string) {
	for _, a := range addresses {
		if network, is := a.(*net.IPNet); is {
			texts = append(texts, network.IP.String())
		}
	}
	return texts
}

// bearer is the kind of a network interface: Ethernet is whatever looks like it.
func bearer(name string) int64 {
	dir := filepath.Join("/sys/class/net", name)
	for _, mark := range []string{"wireless", "phy80211"} {
		if _, err := os.Stat(filepath.Join(dir, mark)); err == nil {
			return objects.BearerWLAN
		}
	}
	if kind, err := os.ReadFile(filepath.Join(dir, "type")); err == nil && string(kind) == "1\n" { // ARPHRD_ETHER
		return objects.BearerEthernet
	}
	return 0
}

// list takes the place of a resource's instances.
func list[T any](c connectivity, resource uint16, values []T, as func(T) lwm2m.Value) {
	p := lwm2m.NewPath(objects.ConnectivityID, 0, resource)
	c.Remove(p)
	for i, v := range values {
		c.Set(lwm2m.Record{Path: p.Child(uint16(i)), Value: as(v)})
	}
}
