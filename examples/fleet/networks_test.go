package fleet

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/netns"
	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestNetworks has devices on networks as they are: behind a NAT that forgets, at
// addresses that change, with IPv6 alone or one that leads nowhere, in narrow tunnels, where
// a third gets lost, and where somebody else answers in the server's name. Each stays
// registered or comes back without help, and goes on to do what it is asked for. All is in
// namespaces of the kernel: nothing leaves this machine.
func TestNetworks(t *testing.T) {
	if netns.Inside() {
		networks(t)
		return
	}
	t.Parallel()
	if err := netns.Possible(); err != nil || testing.Short() {
		t.Skipf("NOT TESTED: networks as they are, since none can be made here (root, ip and nsenter do that): %v", cmp.Or(err, errors.New("-short is set")))
	}
	var console bytes.Buffer
	out := io.Writer(&console)
	if testing.Verbose() {
		out = os.Stdout
	}
	variables := []string{outside + "=" + built.Dir, rootOutside + "=" + built.Root}
	if err := netns.Enter(t.Context(), out, variables, "-test.v", "-test.parallel=16", "-test.timeout=1h", "-test.run=^"+t.Name()+"$"); err != nil {
		t.Fatalf("%v\n%s", err, console.String())
	}
}

// backend is a backend in a network of its own, to which others are joined.
type backend struct {
	*rig.System
	names         *netns.Names
	bridge, files uint16
	devices       atomic.Int32
}

func networks(t *testing.T) {
	system, err := rig.StartOpen(t.Context(), built, t.TempDir())
	attend(t, system, err)
	names, err := netns.ServeNames()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(names.Close)
	b := &backend{System: system, names: names}
	b.bridge, b.files = system.Ports()
	put(t, system, "1.0.0")
	t.Run("devices", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *backend){
			"NAT rebinding": natRebinding, "changing addresses": changingAddresses, "IPv6 only": ipv6Only,
			"IPv6 that leads nowhere": ipv6Nowhere, "600 bytes": tunnelled, "30 % loss": lossy, "captive": captive,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, b)
			})
		}
	})
}

// A remote is a device that is joined to the backend's network by a cable.
type remote struct {
	*testing.T
	*rig.System
	backend   *backend
	space     *netns.Space
	name      string // of the server, as the device knows it
	here      netip.Addr
	there     netip.Addr
	near      string // the backend's end of the cable; that of the device is eth0
	refusals  int
	bridge    uint16 // at which the device finds the bridge
	filesURL  string
	lifetime  string
	agentEdit []rig.Edit
}

// newRemote makes a network for a device, which is not joined yet: by IPv4, the device
// with 10.N.0.2, the backend with 10.N.0.1 and other addresses; by IPv6 the same of
// 2001:db8:N::.
func newRemote(t *testing.T, b *backend) *remote {
	t.Helper()
	space, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(space.Close)
	n := b.devices.Add(1)
	r := &remote{T: t, backend: b, space: space, name: fmt.Sprintf("backend-%d.test", n), near: fmt.Sprintf("to-%d", n), bridge: b.bridge, lifetime: "10s"}
	r.here, r.there = r.v4(1), r.v4(2)
	return r
}

func (r *remote) number() byte {
	var n byte
	fmt.Sscanf(r.near, "to-%d", &n)
	return n
}

func (r *remote) v4(host byte) netip.Addr { return netip.AddrFrom4([4]byte{10, r.number(), 0, host}) }

func (r *remote) v6(host byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: r.number(), 15: host})
}

// must does things in order, the first error being the end.
func (r *remote) must(errs ...error) {
	r.Helper()
	if err := errors.Join(errs...); err != nil {
		r.Fatal(err)
	}
}

// ip runs it in the backend's network.
func ip(words string) error {
	out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", words, err, out)
	}
	return nil
}

// cable joins the device to the backend, without anything between.
func (r *remote) cable() {
	r.Helper()
	r.must(netns.Join(nil, r.near, r.space, "eth0", 1500))
	r.address(r.here, r.there)
}

// address gives both ends of the cable their addresses.
func (r *remote) address(here, there netip.Addr) {
	r.Helper()
	r.must(ip(assign(here, r.near)), r.space.Run("ip "+assign(there, "eth0")))
}

func assign(a netip.Addr, at string) string {
	if a.Is6() {
		return fmt.Sprintf("address add %s/64 dev %s nodad", a, at)
	}
	return fmt.Sprintf("address add %s/24 dev %s", a, at)
}

// join starts the device's agent. The name of its server has these addresses.
func (r *remote) join(addresses ...netip.Addr) {
	r.Helper()
	r.backend.names.Say(r.name, addresses...)
	r.must(r.space.Write("/etc/resolv.conf", fmt.Sprintf("nameserver %s\noptions timeout:1 attempts:1\n", r.here)))
	files := cmp.Or(r.filesURL, fmt.Sprintf("coaps://%s:%d", r.name, r.backend.files))
	system, err := r.backend.Join(r.Context(), r.TempDir(), rig.Abroad{
		Name: fmt.Sprintf("device-%d", r.number()), Within: r.space.Command(), Server: fmt.Sprintf("coaps://%s:%d", r.name, r.bridge), Files: files,
		Agent: append(r.agentEdit, rig.Replace(`lifetime = "60s"`, `lifetime = "`+r.lifetime+`"`)),
	})
	r.System = system
	attend(r.T, system, err)
}

// relay stands between the device and the bridge.
func (r *remote) relay() *rig.Relay {
	r.Helper()
	relay, err := rig.NewRelayAt(net.JoinHostPort(r.here.String(), "0"), fmt.Sprintf("127.0.0.1:%d", r.bridge))
	r.must(err)
	r.Cleanup(relay.Close)
	r.bridge = netip.MustParseAddrPort(relay.Addr()).Port()
	return relay
}

// answers asks the device for something, which goes from the twin to the device, from there
// to the file server, and back into the twin by an observation.
func (r *remote) answers(when string) {
	r.Helper()
	begin := time.Now()
	if r.refusals++; r.refusals == 1 {
		if _, err := r.Await(r.Context(), "the device is online, "+when, rig.UpdateTime, func(s rig.Reported) bool { return s.State == "online" }); err != nil {
			r.Fatal(err)
		}
	}
	c, err := r.Ask(r.Context(), fmt.Sprintf(`{"version": "9.0.%d"}`, r.refusals))
	if err != nil {
		r.Fatalf("%s: %v", when, err)
	}
	if c.Update.Result != "refused" || !strings.Contains(c.Outcome.Cause, "9.0.") {
		r.Errorf("%s: %+v", when, c.Outcome)
	}
	r.Logf("%s: answered after %s", when, time.Since(begin).Round(time.Millisecond))
}

// registrations is how often the device was registered.
func (r *remote) registrations() int {
	log, _ := os.ReadFile(r.Agent.Log)
	return strings.Count(string(log), "registered=true")
}

func (r *remote) registeredOnce() {
	r.Helper()
	if n := r.registrations(); n != 1 {
		r.Errorf("it was registered %d times", n)
	}
}

// natRebinding: the session is known by its connection id.
func natRebinding(t *testing.T, b *backend) {
	r := newRemote(t, b)
	r.cable()
	relay := r.relay()
	r.join(r.here)
	r.answers("at first")
	for _, when := range []string{"at another port", "at a third one"} {
		relay.Rebind()
		r.answers(when)
	}
	r.registeredOnce()
}

// changingAddresses: the device has none for a while, and then another.
func changingAddresses(t *testing.T, b *backend) {
	r := newRemote(t, b)
	r.cable()
	r.join(r.here)
	r.answers("at first")
	for host := range byte(2) {
		r.must(r.space.Run("ip address flush dev eth0"), r.space.Run("ip link set eth0 down"))
		r.must(r.space.Run("ip link set eth0 up"), r.space.Run("ip "+assign(r.v4(100+host), "eth0")))
		r.answers(fmt.Sprintf("from another address (%d)", host))
	}
	r.registeredOnce()
}

func ipv6Only(t *testing.T, b *backend) {
	r := newRemote(t, b)
	r.here, r.there = r.v6(1), r.v6(2)
	r.cable()
	r.join(r.here)
	r.answers("at first")
}

// ipv6Nowhere: the server's name has an address of each kind, and behind that of IPv6
// nobody is.
func ipv6Nowhere(t *testing.T, b *backend) {
	r := newRemote(t, b)
	r.cable()
	r.address(r.v6(1), r.v6(2))
	r.relay() // which is at the address of IPv4 only
	r.filesURL = fmt.Sprintf("coaps://%s:%d", r.here, b.files)
	r.join(r.v6(1), r.here)
	r.answers("at first")
}

// tunnelled: the way leads through a tunnel of which neither end knows, and which nobody
// tells of: what is too long, and may not be cut into pieces, gets lost.
func tunnelled(t *testing.T, b *backend) {
	r := newRemote(t, b)
	var routers [2]*netns.Space
	for i := range routers {
		router, err := netns.New()
		r.must(err)
		t.Cleanup(router.Close)
		r.must(router.Write("/proc/sys/net/ipv4/ip_forward", "1"), router.Run("ip rule add ipproto 1 blackhole"))
		routers[i] = router
	}
	near, far, n := routers[0], routers[1], r.number()
	r.there = netip.AddrFrom4([4]byte{10, n, 2, 2})
	r.must(netns.Join(nil, r.near, near, "near", 1500), netns.Join(near, "tunnel", far, "tunnel", 600), netns.Join(far, "far", r.space, "eth0", 1500))
	r.must(
		ip(assign(r.here, r.near)), near.Run(fmt.Sprintf("ip address add 10.%d.0.254/24 dev near", n)),
		near.Run(fmt.Sprintf("ip address add 10.%d.1.1/24 dev tunnel", n)), far.Run(fmt.Sprintf("ip address add 10.%d.1.2/24 dev tunnel", n)),
		far.Run(fmt.Sprintf("ip address add 10.%d.2.1/24 dev far", n)), r.space.Run("ip "+assign(r.there, "eth0")),
	)
	r.must(
		ip(fmt.Sprintf("route add 10.%d.2.0/24 via 10.%d.0.254", n, n)), near.Run(fmt.Sprintf("ip route add 10.%d.2.0/24 via 10.%d.1.2", n, n)),
		far.Run(fmt.Sprintf("ip route add default via 10.%d.1.1", n)), r.space.Run(fmt.Sprintf("ip route add default via 10.%d.2.1", n)),
	)
	r.join(r.here)
	r.answers("at first")
	update(t, r.System, "1.0.0")
}

// lossy: what gets lost is sent again, by whoever waits for an answer.
func lossy(t *testing.T, b *backend) {
	r := newRemote(t, b)
	r.lifetime = "60s"
	r.cable()
	relay := r.relay()
	r.join(r.here)
	r.answers("at first")
	relay.Lose(0.3, 1)
	over := time.AfterFunc(10*time.Second, func() { relay.Lose(0, 1) })
	defer over.Stop()
	r.answers("amid losses")
	r.answers("after that, or still")
}

// captive: the device starts where the server's name leads to somebody else, who wants a
// password to be typed into a page. It says so, leaves its component alone, and comes back
// when the name is right.
func captive(t *testing.T, b *backend) {
	r := newRemote(t, b)
	r.cable()
	portal := r.v4(9)
	r.must(ip(assign(portal, r.near)))
	r.relay()
	r.serve(r.here, proxyTo(t, b.Files()))
	r.serve(portal, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!DOCTYPE html><title>Welcome</title><form>Room number: <input></form>")
	}))
	r.babble(portal)
	r.filesURL = fmt.Sprintf("http://%s:%d", r.name, r.bridge)
	r.agentEdit = []rig.Edit{rig.Replace("[files]\n", "[files]\ninsecure = true\n")}
	r.join(r.here)
	r.answers("at first")
	update(t, r.System, "1.0.0")
	if err := r.Wish(t.Context(), rig.SensorAdapter, `{"version": null, "check": "* * * * * *"}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the device has the schedule", func() bool {
		log, err := os.ReadFile(b.Backend.Log)
		return err == nil && bytes.Contains(log, []byte(`check="* * * * * *"`)) // which no other device gets
	})
	before, _ := check(t, r.System)

	r.Agent.Stop()
	b.names.Say(r.name, portal)
	file, err := built.Package(t.Context(), r.Dir, "1.0.0", append(quick, rig.Replace(`version = "1.0.0"`, `version = "1.0.1"`))...)
	r.must(err)
	r.must(b.Push(t.Context(), file))
	restart(t, r.System)
	r.says("not registered, trying again")
	r.says("it is a page for people")
	if now, _ := check(t, r.System); now != before {
		t.Errorf("the component was touched: %+v became %+v", before, now)
	}
	b.names.Say(r.name, r.here)
	_, err = r.Await(t.Context(), "it is back, and has updated itself", rig.UpdateTime, func(s rig.Reported) bool {
		return s.State == "online" && s.Components[rig.SensorAdapter].Version == "1.0.1"
	})
	r.must(err)
}

// says waits until the agent's log has a text.
func (r *remote) says(text string) {
	r.Helper()
	begin := time.Now()
	eventually(r.T, "the agent says "+text, func() bool {
		log, err := os.ReadFile(r.Agent.Log)
		return err == nil && strings.Contains(string(log), text)
	})
	r.Logf("says so after %s", time.Since(begin).Round(time.Millisecond))
}

// serve answers over HTTP, at the port at which the device finds the bridge over UDP.
func (r *remote) serve(at netip.Addr, handler http.Handler) {
	r.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(at, r.bridge).String())
	r.must(err)
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	r.Cleanup(func() { server.Close() })
}

func proxyTo(t *testing.T, address string) http.Handler {
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return httputil.NewSingleHostReverseProxy(u)
}

// babble answers every datagram with nonsense, and with an alert of DTLS.
func (r *remote) babble(at netip.Addr) {
	r.Helper()
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, r.bridge)))
	r.must(err)
	r.Cleanup(func() { socket.Close() })
	go func() {
		for b := make([]byte, 1<<12); ; {
			_, from, err := socket.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			for _, answer := range []string{"HTTP/1.1 302 Found\r\n\r\n", "\x60\x84\x00\x01", "\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x02\x28"} {
				_, _ = socket.WriteToUDPAddrPort([]byte(answer), from)
			}
		}
	}()
}
