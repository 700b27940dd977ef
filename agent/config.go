package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/fetch"
	"github.com/tranquil-iot/tranquil/agent/internal/self"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/settings"
	"github.com/tranquil-iot/tranquil/sdk/space"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A config is what the agent's configuration files say (TOML).
type config struct {
	Endpoint   string           `toml:"endpoint"`   // LwM2M endpoint name, the device's identity in the hub
	Data       string           `toml:"data"`       // directory of all that must survive
	Run        string           `toml:"run"`        // directory for sockets: a short path
	Reserve    int64            `toml:"reserve"`    // bytes of disk that updates leave free
	Components []string         `toml:"components"` // "application/sensor-adapter"
	Ask        []string         `toml:"ask"`        // those of them whose updates need consent, whatever the back end says
	Firmware   string           `toml:"firmware"`   // the one of them that LwM2M object 5 is about; "" there is no object 5
	Reboot     []string         `toml:"reboot"`     // command that reboots the device; none: no server can ask for that
	Watchdog   string           `toml:"watchdog"`   // device that reboots the machine if the agent ends or hangs, "/dev/watchdog"; "" none
	LwM2M      lwm2mConfig      `toml:"lwm2m"`
	Files      filesConfig      `toml:"files"`
	Trust      trustConfig      `toml:"trust"`
	State      stateConfig      `toml:"state"`
	Transform  transformConfig  `toml:"transform"`
	Metered    []meteredConfig  `toml:"metered"` // links on which packages have a budget
	Updaters   []updaterConfig  `toml:"updater"`
	Dependants []pack.Dependant `toml:"dependant"` // beside those that packages declare
}

// A stateConfig bounds, for each component, the states that updates save.
// Whatever the bounds are, age and number never remove the one that the way
// back to the version before needs.
type stateConfig struct {
	Keep      int               `toml:"keep"`       // at most so many
	KeepFor   settings.Duration `toml:"keep_for"`   // none that is older, in time that the device was on; "0s" is no bound
	KeepSpace int64             `toml:"keep_space"` // bytes, at most so many together; 0 is no bound

	// KeepPackages keeps the packages of the installed and the previous version
	// too: going back needs no file server then.
	KeepPackages bool `toml:"keep_packages"`
}

func (s stateConfig) check() error {
	return errors.Join(
		notNegative("keep", int64(s.Keep)), notNegative("keep_for", int64(s.KeepFor)), notNegative("keep_space", s.KeepSpace))
}

func notNegative(key string, v int64) error {
	if v < 0 {
		return settings.In(key, errors.New("cannot be negative"))
	}
	return nil
}

// A transformConfig is the ceiling of what one run of a state transform may use;
// 0 is the default of [host.Limits].
type transformConfig struct {
	Memory  int64             `toml:"memory"`  // bytes
	Output  int64             `toml:"output"`  // bytes
	Log     int64             `toml:"log"`     // bytes that are kept
	CPU     settings.Duration `toml:"cpu"`     // processor time
	Wall    settings.Duration `toml:"wall"`    //
	Compile settings.Duration `toml:"compile"` // of processor and wall time, for the module
}

// check wants the limits in the ranges that those of packages have.
func (t transformConfig) check() error {
	limits := pack.TransformLimits{Memory: t.Memory, Output: t.Output, CPU: t.CPU, Wall: t.Wall}
	return errors.Join(limits.Check(), notNegative("log", t.Log), notNegative("compile", int64(t.Compile)))
}

func (t transformConfig) limits() host.Limits {
	return host.Limits{
		Memory: t.Memory, Output: t.Output, Log: t.Log,
		CPU: time.Duration(t.CPU), Wall: time.Duration(t.Wall), Compile: time.Duration(t.Compile),
	}
}

type lwm2mConfig struct {
	Server   string            `toml:"server"`   // "coaps://host:5684", which is DTLS, "coaps+tcp://host:5684", TLS, or without either "coap://127.0.0.1:5683", "coap+tcp://…"
	Also     []string          `toml:"also"`     // others that know the device by the same key or certificate, asked in turn when those before do not take it
	Lifetime settings.Duration `toml:"lifetime"` // of the registration

	// Bootstrap, in place of Server, is where the device asks for its server and its
	// key there; what follows is then for the bootstrap server. It asks again if the
	// server has not taken it for so long.
	Bootstrap      string            `toml:"bootstrap"`
	BootstrapAfter settings.Duration `toml:"bootstrap_after"`

	Insecure bool `toml:"insecure"` // allow plaintext beyond this machine: anyone there can command the device

	// What the device proves itself with: a key that the server knows as well, or
	// a certificate.
	PSK      string `toml:"psk"`      // file with the key, base64, readable by its owner alone
	Identity string `toml:"identity"` // that the server knows the key by; "" is the endpoint
	Cert     string `toml:"cert"`     // PEM files
	Key      string `toml:"key"`      // readable by its owner alone
	Roots    string `toml:"roots"`    // issuers of the server's certificate
}

// check tells what does not fit together. The files are read when they are
// used: not everyone who may read the configuration may read them.
func (l lwm2mConfig) check() error {
	server := cmp.Or(l.Bootstrap, l.Server)
	secure, psk := strings.HasPrefix(server, "coaps"), l.PSK != ""
	cert := l.Cert != "" || l.Key != "" || l.Roots != ""
	switch {
	case l.Lifetime < settings.Duration(10*time.Second):
		return settings.In("lifetime", errors.New("is below 10s"))
	case l.Bootstrap != "" && l.Server != "":
		return settings.In("bootstrap", errors.New("a device that has a server needs no bootstrap: leave out one of them"))
	case l.Bootstrap != "" && len(l.Also) > 0:
		return settings.In("also", errors.New("whoever the bootstrap server names is the only server: leave this out, or name server in place of bootstrap"))
	case l.Bootstrap != "" && l.BootstrapAfter < settings.Duration(time.Second):
		return settings.In("bootstrap_after", errors.New("is below 1s"))
	case strings.HasPrefix(server, "coaps+tcp://") && (psk || !cert):
		return errors.New("coaps+tcp needs cert, key and roots: TLS knows no psk here")
	case secure && psk == cert:
		return errors.New("coaps needs either psk, the file that tranquil device create --psk has written, or cert, key and roots")
	case cert && (l.Cert == "" || l.Key == "" || l.Roots == ""):
		return errors.New("cert, key and roots belong together")
	case !secure && (psk || cert):
		return settings.In("server", fmt.Errorf("%s does not use the key or certificate that is configured: write coaps://", server))
	case !psk && l.Identity != "":
		return settings.In("identity", errors.New("is that of a psk, and there is none"))
	case !secure && !l.Insecure && exposed(server):
		key := "server"
		if l.Bootstrap != "" {
			key = "bootstrap"
		}
		return settings.In(key, fmt.Errorf("%s is plaintext beyond this machine, where others can command the device: use coaps://, or set lwm2m.insecure = true", server))
	}
	return l.checkAlso()
}

// checkAlso wants the other servers to be reached as the first is.
func (l lwm2mConfig) checkAlso() error {
	scheme, _, _ := strings.Cut(l.Server, "://")
	for _, other := range l.Also {
		switch is, _, _ := strings.Cut(other, "://"); {
		case is != scheme:
			return settings.In("also", fmt.Errorf("%s has another scheme than server, which is %s://", other, scheme))
		case !strings.HasPrefix(is, "coaps") && !l.Insecure && exposed(other):
			return settings.In("also", fmt.Errorf("%s is plaintext beyond this machine: use coaps://, or set lwm2m.insecure = true", other))
		}
	}
	return nil
}

// exposed reports whether a server is one that others can listen to; of what is
// no URL, whoever dials says what is wrong.
func exposed(server string) bool {
	u, err := url.Parse(server)
	return err == nil && u.Hostname() != "" && fetch.Exposed(u)
}

type filesConfig struct {
	URL      string   `toml:"url"`      // of the file server: "coap://host:5685", "https://host"
	Also     []string `toml:"also"`     // others that have the same packages, asked in this order when those before fail
	Insecure bool     `toml:"insecure"` // allow plaintext beyond this machine: anyone there can replace packages

	// Deltas keeps the artifact of the installed version, as long as there is room for
	// it, and makes the next one of it.
	Deltas bool `toml:"deltas"`
}

// check refuses plaintext that others could alter, unless that was asked for.
func (f filesConfig) check() error {
	errs := []error{f.checkURL("url", f.URL)}
	for _, also := range f.Also {
		errs = append(errs, f.checkURL("also", also))
	}
	return errors.Join(errs...)
}

func (f filesConfig) checkURL(key, from string) error {
	u, err := url.Parse(from)
	if err != nil {
		return settings.In(key, err)
	}
	if f.Insecure || !fetch.Exposed(u) {
		return nil
	}
	return settings.In(key, fmt.Errorf("%s://%s is plaintext beyond this machine, where others can replace packages: use https, or set files.insecure = true", u.Scheme, u.Host))
}

// A meteredConfig is a network interface whose bytes cost something.
type meteredConfig struct {
	Interface string `toml:"interface"` // "wwan0"
	Budget    int64  `toml:"budget"`    // bytes of packages a month, with what IP and UDP add
	Whole     int64  `toml:"whole"`     // bytes of a blob that may come over it without a delta; 0: whatever the budget allows
}

func (c config) metered() []fetch.Link {
	var links []fetch.Link
	for _, m := range c.Metered {
		links = append(links, fetch.Link(m))
	}
	return links
}

type updaterConfig struct {
	Type   string `toml:"type"`   // component type
	Path   string `toml:"path"`   // of the executable; one without a slash comes with the agent, as does "", which is tranquil-updater-TYPE
	SHA256 string `toml:"sha256"` // pinned checksum of the executable, hex; of one that comes with the agent there need be none

	Answer settings.Duration `toml:"answer"` // time for a sign of life, before a frozen updater is killed
	Memory int64             `toml:"memory"` // bytes that its process may have, without its components
	Files  int               `toml:"files"`  // that its process may have open
	User   string            `toml:"user"`   // that it runs as; "": as the agent
}

// runsAs finds the user of an updater.
func (u updaterConfig) runsAs() (*updater.User, error) {
	if u.User == "" {
		return nil, nil
	}
	account, err := user.Lookup(u.User)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	return &updater.User{UID: uint32(uid), GID: uint32(gid)}, err
}

func (u updaterConfig) check() error {
	errs := []error{notNegative("memory", u.Memory), notNegative("files", int64(u.Files)), u.checkProgram()}
	if _, err := u.runsAs(); err != nil {
		errs = append(errs, settings.In("user", err))
	} else if u.User != "" && os.Geteuid() != 0 {
		errs = append(errs, settings.In("user", errors.New("only an agent that is root can run an updater as another user")))
	}
	return errors.Join(errs...)
}

// readConfig reads a file over the defaults, and over that, in the order of their
// names, what the folder config.d beside it has. A key that is not known is an
// error: it is most likely misspelt.
func readConfig(path string) (config, error) { return readConfigOf(path, "", "") }

// readConfigOf reads one of the files, or one that is not there yet, from another place.
func readConfigOf(path, instead, from string) (config, error) {
	c := config{
		Data: "/var/lib/tranquil", Run: "/run/tranquil", Reserve: space.Reserve,
		LwM2M: lwm2mConfig{Lifetime: settings.Duration(5 * time.Minute), BootstrapAfter: settings.Duration(time.Hour)},
		Files: filesConfig{URL: "coap://127.0.0.1:5685", Deltas: true},
		State: stateConfig{Keep: state.DefaultRetention.Keep, KeepFor: settings.Duration(state.DefaultRetention.For)},
	}
	if err := allRegular(configFiles(path)[1:]); err != nil {
		return c, fmt.Errorf("cannot read configuration: %w", err)
	}
	file, err := settings.ReadOver(&c, exchanged(configFiles(path), instead, from)...)
	if err != nil {
		return c, fmt.Errorf("cannot read configuration: %w", err)
	}
	if c.LwM2M.Server == "" && c.LwM2M.Bootstrap == "" {
		c.LwM2M.Server = "coap://127.0.0.1:5683"
	}
	c.findUpdaters()
	return c, file.Place(c.validate())
}

// server is whom the device registers with, or asks for that.
func (c config) server() string { return cmp.Or(c.LwM2M.Server, c.LwM2M.Bootstrap) }

// knows tells whether an agent that goes by this configuration can be with a server.
func (c config) knows(server string) bool {
	return server == c.server() || slices.Contains(c.LwM2M.Also, server)
}

// configFiles are a configuration and what is read over it.
func configFiles(path string) []string {
	dir := filepath.Join(filepath.Dir(path), "config.d")
	entries, _ := os.ReadDir(dir) // no directory has no entries
	files := []string{path}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".toml") && !strings.HasPrefix(e.Name(), ".") { // hidden ones are an editor's
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

// allRegular refuses what would be read for ever, such as a pipe.
func allRegular(files []string) error {
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file: remove it, or give it another ending", file)
		}
	}
	return nil
}

// exchanged are files in their order, one of them from another place.
func exchanged(files []string, instead, from string) []string {
	if instead == "" {
		return files
	}
	first := files[:1]
	rest := slices.DeleteFunc(files[1:], func(file string) bool { return file == instead })
	at, _ := slices.BinarySearch(rest, instead)
	return append(first, slices.Insert(rest, at, from)...)
}

// errNoEndpoint is what a device says that was only just installed.
var errNoEndpoint = errors.New(`endpoint is missing: the device's name, as in endpoint = "mica-1"`)

func (c config) validate() error {
	errs := []error{
		c.checkComponents(), settings.In("lwm2m", c.LwM2M.check()), settings.In("files", c.Files.check()), settings.In("trust", c.Trust.check()),
		settings.In("state", c.State.check()), settings.In("transform", c.Transform.check()), notNegative("reserve", c.Reserve),
		absolute("data", c.Data), absolute("run", c.Run),
	}
	if c.Endpoint == "" {
		errs = append(errs, errNoEndpoint)
	}
	if len(c.Reboot) > 0 {
		errs = append(errs, absolute("reboot", c.Reboot[0]))
	}
	for i, m := range c.Metered {
		if m.Interface == "" || m.Budget < 0 || m.Whole < 0 {
			errs = append(errs, settings.In(fmt.Sprintf("metered %d", i+1), errors.New(`interface is its name, as in "wwan0", budget is in bytes a month, whole in bytes`)))
		}
	}
	for i, u := range c.Updaters {
		errs = append(errs, settings.In(fmt.Sprintf("updater %d", i+1), u.check()))
	}
	for i, d := range c.Dependants {
		errs = append(errs, settings.In(fmt.Sprintf("dependant %d", i+1), cmp.Or(d.Check(), c.hasBoth(d))))
	}
	return errors.Join(errs...)
}

// hasBoth fails if a dependant could never be told, or stopped, since one of the
// names is no component's.
func (c config) hasBoth(d pack.Dependant) error {
	switch {
	case !slices.Contains(c.Components, d.Of):
		return settings.In("of", fmt.Errorf("%s is none of the components", d.Of))
	case d.Policy == pack.PolicyStop && !slices.Contains(c.Components, d.Component):
		return settings.In("component", fmt.Errorf("%s is none of the components, and nobody else can be stopped", d.Component))
	}
	return nil
}

// checkComponents wants an updater for each, and no other name elsewhere.
func (c config) checkComponents() error {
	var errs []error
	for i, name := range c.Components {
		kind, _, _ := strings.Cut(name, "/")
		if err := pack.CheckComponent(name); err != nil {
			errs = append(errs, settings.In("components", err))
		} else if kind == self.Type && name != self.Component {
			errs = append(errs, settings.In("components", fmt.Errorf("%s is unknown: of that type there is only %s", name, self.Component)))
		} else if slices.Contains(c.Components[:i], name) {
			errs = append(errs, settings.In("components", fmt.Errorf("%s is listed twice", name)))
		} else if !slices.ContainsFunc(c.Updaters, func(u updaterConfig) bool { return u.Type == kind }) {
			errs = append(errs, settings.In("components", fmt.Errorf("%s needs an [[updater]] with type = %q", name, kind)))
		}
	}
	for _, name := range c.Ask {
		if !slices.Contains(c.Components, name) {
			errs = append(errs, settings.In("ask", fmt.Errorf("%s is none of the components", name)))
		}
	}
	if c.Firmware != "" && !slices.Contains(c.Components, c.Firmware) {
		errs = append(errs, settings.In("firmware", fmt.Errorf("%s is none of the components", c.Firmware)))
	}
	return errors.Join(errs...)
}

func absolute(key, path string) error {
	if !filepath.IsAbs(path) {
		return settings.In(key, fmt.Errorf("%q is not an absolute path", path))
	}
	return nil
}

// updaters is where the updaters keep what is theirs, and with it the
// components and their states: each in a directory of its type.
func (c config) updaters() string { return filepath.Join(c.Data, "updater") }

// link is in a directory of its own, which a container can be given: a socket that
// the next agent makes is another file.
func (c config) link() string    { return filepath.Join(c.Run, "link", "agent.sock") }
func (c config) control() string { return filepath.Join(c.Run, "control.sock") }
