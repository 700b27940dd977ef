package container

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/plugins/internal/service"
)

// A Grant is what a container gets of the device beyond its files. The operator
// decides that on the device, for each component: no package can ask for it.
type Grant struct {
	Network Network  `json:"network,omitzero"`
	Devices []string `json:"devices,omitempty"` // device nodes, which the container has by the same names

	// Privileged is whether root in the container may be root of the device, with
	// few capabilities; unsaid it is what [Everyone] has, and true if that is unsaid.
	Privileged *bool `json:"privileged,omitempty"`
}

// Everyone is the name in [GrantsFile] for what holds for all containers that say
// nothing else. It can be Privileged and nothing more.
const Everyone = "*"

// Network is how a container is connected; the zero value is not at all.
type Network struct {
	Host    bool   `json:"host,omitempty"`    // it has the device's own network
	Bridge  string `json:"bridge,omitempty"`  // or an interface on this bridge of the device,
	Address string `json:"address,omitempty"` // with this address, as in 192.168.0.7/24,
	Gateway string `json:"gateway,omitempty"` // and this way out
}

// GrantsFile is where the operator writes the grants: a JSON object with a
// [Grant] for each component, by its name, as in "container/Java8".
const GrantsFile = "/etc/tranquil/containers.json"

// readGrant finds what a component is granted; without the file nothing is.
func readGrant(file, component string) (g Grant, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	var grants map[string]Grant
	if err == nil {
		err = service.Decode(data, &grants)
	}
	if err == nil {
		g = grants[component]
		all := grants[Everyone]
		if g.Privileged == nil {
			g.Privileged = all.Privileged
		}
		if all.Privileged = nil; !all.isZero() {
			err = fmt.Errorf("%q can only say whether containers may be privileged", Everyone)
		}
		err = errors.Join(err, g.check())
	}
	if err != nil {
		return g, fmt.Errorf("cannot tell what the container is granted: %s: %w", file, err)
	}
	return g, nil
}

var (
	validInterface = regexp.MustCompile(`^[A-Za-z0-9._-]{1,15}$`)
	validDevice    = regexp.MustCompile(`^/dev(/[A-Za-z0-9][A-Za-z0-9._-]*)+$`)
)

func (g Grant) isZero() bool {
	return g.Network == Network{} && g.Devices == nil && g.Privileged == nil
}

// admits returns why a container may not run.
func (g Grant) admits(b Box) error {
	if g.Privileged != nil && !*g.Privileged && b.Base == 0 {
		return errors.New("the operator allows it no privileges: its package has to say unprivileged = true in its settings")
	}
	return nil
}

func (g Grant) check() error {
	errs := []error{g.Network.check()}
	for _, device := range g.Devices {
		if !validDevice.MatchString(device) {
			errs = append(errs, fmt.Errorf("%q is no device node below /dev", device))
		}
	}
	return errors.Join(errs...)
}

func (n Network) check() error {
	if n.Bridge == "" {
		if n.Address != "" || n.Gateway != "" {
			return errors.New("an address or a gateway needs a bridge")
		}
		return nil
	}
	if n.Host || !validInterface.MatchString(n.Bridge) {
		return fmt.Errorf("network: choose either host, or a bridge by its name: %q", n.Bridge)
	}
	if _, err := netip.ParsePrefix(n.Address); err != nil && n.Address != "" {
		return fmt.Errorf("network address: %w", err)
	}
	if _, err := netip.ParseAddr(n.Gateway); err != nil && n.Gateway != "" {
		return fmt.Errorf("network gateway: %w", err)
	}
	return nil
}

// V6 reports whether address and gateway are those of IPv6.
func (n Network) V6() bool { return strings.Contains(n.Address+n.Gateway, ":") }

// A Device is a device node that a container is granted.
type Device struct {
	Path         string
	Kind         string // "c" or "b"
	Major, Minor uint32
}

// devices looks at the granted device nodes: their numbers may be others after a
// reboot.
func (g Grant) devices() (list []Device, err error) {
	for _, path := range g.Devices {
		var s unix.Stat_t
		if err := unix.Lstat(path, &s); err != nil {
			return nil, fmt.Errorf("the device %s that it is granted is not there: %w", path, err)
		}
		kind := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[s.Mode&unix.S_IFMT]
		if kind == "" {
			return nil, fmt.Errorf("%s, which it is granted, is no device", path)
		}
		list = append(list, Device{path, kind, unix.Major(uint64(s.Rdev)), unix.Minor(uint64(s.Rdev))})
	}
	return list, nil
}
