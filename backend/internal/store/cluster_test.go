package store

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// runServer runs a NATS server that others can reach.
func runServer(t *testing.T, o server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.JetStream, o.SyncAlways, o.StoreDir = "127.0.0.1", -1, true, true, true, t.TempDir()
	if o.MaxPayload == 0 {
		o.MaxPayload = maxEntry
	}
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func openCluster(t *testing.T, servers ...*server.Server) *Store {
	t.Helper()
	var addresses []string
	for _, s := range servers {
		addresses = append(addresses, s.ClientURL())
	}
	s, err := Open(t.Context(), Config{Cluster: strings.Join(addresses, ","), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestTwoHubsOneOrder: events of a device come once and in the order of its changes, whichever hub makes these, also when
// one dies in the middle of one.
func TestTwoHubsOneOrder(t *testing.T) {
	t.Parallel()
	nats := runServer(t, server.Options{})
	a, b := openCluster(t, nats), openCluster(t, nats)
	if err := a.Create(t.Context(), twin.New("a", time.Now()), testEvent("0")); err != nil {
		t.Fatal(err)
	}
	want := []string{"0"}
	change := func(s *Store, name string) {
		t.Helper()
		if _, err := s.Update(t.Context(), "a", func(*twin.Device) (*twin.Event, error) { return testEvent(name), nil }); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	for i := range 6 {
		change([]*Store{a, b}[i%2], fmt.Sprint(i+1))
	}
	e, err := a.load(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	e.Event = testEvent("last of the dead")
	if e.revision, err = a.swap(t.Context(), "a", e); err != nil { // and it dies, or is only slow
		t.Fatal(err)
	}
	want = append(want, "last of the dead")
	change(b, "after it")
	if err := a.send(t.Context(), e, 0); err != nil { // it was only slow
		t.Fatal(err)
	}
	change(a, "end")
	var got []string
	for event, err := range b.Events(t.Context(), "a", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, event.Type); event.Type == "end" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for d, err := range a.Devices(t.Context()) { // what b has changed is known to a
		if err != nil || d.ID != "a" {
			t.Error(d, err)
		}
	}
	nodes, err := a.Nodes(t.Context())
	if err != nil || !nodes[a.Node()] || !nodes[b.Node()] || len(nodes) != 2 {
		t.Error(nodes, err)
	}
	b.Close()
	if nodes, err = a.Nodes(t.Context()); err != nil || len(nodes) != 1 {
		t.Error(nodes, err)
	}
	one, err := a.Secret(t.Context(), "x", []byte("first"))
	if err != nil || string(one) != "first" {
		t.Error(string(one), err)
	}
	c := openCluster(t, nats)
	if one, err = c.Secret(t.Context(), "x", []byte("second")); err != nil || string(one) != "first" {
		t.Error(string(one), err)
	}
}

// TestClusterLosesAServer: with three servers there are three copies, and one of them may go.
func TestClusterLosesAServer(t *testing.T) {
	t.Parallel()
	var servers []*server.Server
	var routes []*url.URL        // all know all from the beginning, as JetStream needs it
	var listeners []net.Listener // that keep their ports
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
	}
	for i, route := range routes {
		port, _ := strconv.Atoi(route.Port())
		listeners[i].Close()
		servers = append(servers, runServer(t, server.Options{
			ServerName: fmt.Sprint("nats", i), Routes: routes, Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port},
		}))
	}
	ready := func(s *server.Server) bool { return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 }
	for deadline := time.Now().Add(2 * time.Minute); !slices.ContainsFunc(servers, ready); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the servers make no cluster")
		}
	}
	s := openCluster(t, servers...)
	if got := s.entries.CachedInfo().Config.Replicas; got != 3 {
		t.Errorf("%d replicas", got)
	}
	if err := s.Create(t.Context(), twin.New("a", time.Now()), testEvent("1")); err != nil {
		t.Fatal(err)
	}
	servers[0].Shutdown()
	servers[0].WaitForShutdown()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := s.Update(t.Context(), "a", func(d *twin.Device) (*twin.Event, error) {
			d.StatusReason = "after"
			return testEvent("2"), nil
		})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if d, err := s.Device(t.Context(), "a"); err != nil || d.StatusReason != "after" {
		t.Error(d, err)
	}
}

// TestSmallMessages: servers that take no large twins are refused at once, and passwords are not told.
func TestSmallMessages(t *testing.T) {
	t.Parallel()
	nats := runServer(t, server.Options{MaxPayload: 1 << 20})
	address := strings.Replace(nats.ClientURL(), "nats://", "nats://somebody:secret@", 1)
	_, err := Open(t.Context(), Config{Cluster: address, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "max_payload") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// TestNodesOfAnEndedContext: a list that ends early is an error; it does not say that all other hubs are gone.
func TestNodesOfAnEndedContext(t *testing.T) {
	s := openInternal(t, t.TempDir())
	for _, pause := range []time.Duration{0, 50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 400 * time.Microsecond, 800 * time.Microsecond} {
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), pause)
			nodes, err := s.Nodes(ctx)
			cancel()
			if err == nil && !nodes[s.Node()] {
				t.Fatalf("after %v: %v and no error", pause, nodes)
			}
		}
	}
}
