package coap_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects/registry"
)

// The peers here are LwM2M libraries from npm, in programs of testdata/peers.

// peer is a running program that tells what happens by lines of JSON.
type peer struct {
	stdin io.Writer
	told  chan told
}

type told struct{ Event, Endpoint, Value string }

// UnmarshalJSON takes a value of any type as its text.
func (e *told) UnmarshalJSON(b []byte) error {
	var raw struct {
		Event, Endpoint string
		Value           any
	}
	err := json.Unmarshal(b, &raw)
	*e = told{raw.Event, raw.Endpoint, ""}
	switch v := raw.Value.(type) {
	case string:
		e.Value = v
	case float64:
		e.Value = strconv.FormatFloat(v, 'f', -1, 64)
	}
	return err
}

func startPeer(t *testing.T, script, port string) *peer {
	t.Helper()
	node, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join("testdata", "peers", "node_modules", "coap-node")); err != nil || missing != nil {
		t.Skip("######## node or the LwM2M libraries from npm are missing: NOT TESTED against them. Run make deps. ########")
	}
	command := exec.Command(node, script, port)
	command.Dir = filepath.Join("testdata", "peers")
	command.Stderr = t.Output()
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &peer{stdin: stdin, told: make(chan told, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e told
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e = told{Event: "noise", Value: lines.Text()}
			}
			p.told <- e
		}
	}()
	t.Cleanup(func() {
		stdin.Close() // both programs end then
		<-read
		_ = command.Wait()
	})
	return p
}

// hear waits until the peer tells of this kind of event.
func (p *peer) hear(t *testing.T, event string) told {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-p.told:
			t.Logf("the peer tells %+v", e)
			if e.Event == event {
				return e
			}
		case <-timeout:
			t.Fatalf("the peer does not tell that something is %s", event)
		}
	}
}

func (p *peer) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// TestCoapNode is a device of others at our server.
func TestCoapNode(t *testing.T) {
	s := startServerWith(t, func(c *lwm2m.ServerConfig) {
		c.Model = registry.Library().Model(lwm2m.Registration{})
		c.Model[3311] = lwm2m.Definition{ID: 3311, Multiple: true, Resources: []lwm2m.Resource{{ID: 5851, Operations: lwm2m.RW, Kind: lwm2m.KindInteger}}}
	})
	_, port, _ := net.SplitHostPort(s.address)
	node := startPeer(t, "device.js", port)
	e := s.event(t, lwm2m.Registered)
	if r := e.Registration; r.Endpoint != "coap-node" || r.Lifetime != 5*time.Minute || r.Version != "1.0.0" {
		t.Errorf("registered %+v", r)
	}
	node.hear(t, "registered")
	remote, ctx := e.Device, deadline(t)
	temperature := lwm2m.NewPath(3303, 0)
	if got := readOne(t, remote, temperature.Child(5700)); got.Float() != 21.5 {
		t.Errorf("one resource is read as %v", got)
	}
	records, err := remote.Read(ctx, temperature)
	if err != nil || len(records) < 2 {
		t.Errorf("an instance is read as %v, %v", records, err)
	}
	dimmer := lwm2m.NewPath(3311, 0, 5851)
	if err := remote.Write(ctx, dimmer, lwm2m.Replace, []lwm2m.Record{{Path: dimmer, Value: lwm2m.Int(42)}}); err != nil {
		t.Errorf("write: %v", err)
	} else if w := node.hear(t, "written"); w.Value != "42" {
		t.Errorf("written %q", w.Value)
	}
	if got := readOne(t, remote, dimmer); got.Int() != 42 {
		t.Errorf("what was written is read as %v", got)
	}
	if err := remote.Execute(ctx, lwm2m.NewPath(3338, 0, 5523), ""); err != nil {
		t.Errorf("execute: %v", err)
	} else {
		node.hear(t, "executed")
	}
	if links, err := remote.Discover(ctx, temperature); err != nil || len(links) == 0 {
		t.Errorf("discover: %v, %v", links, err)
	}
	var box inbox
	if _, err := remote.Observe(ctx, temperature.Child(5700), box.put); err != nil {
		t.Fatalf("observe: %v", err)
	}
	node.say(t, "23.5")
	box.await(t, temperature.Child(5700), lwm2m.Float(23.5))
	if err := remote.CancelObserve(ctx, temperature.Child(5700)); err != nil {
		t.Errorf("cancel: %v", err)
	}
	_, err = remote.Read(ctx, lwm2m.NewPath(3303, 7))
	wantCode(t, "what is not there", err, lwm2m.CodeNotFound)
}

func readOne(t *testing.T, remote *lwm2m.Device, p lwm2m.Path) lwm2m.Value {
	t.Helper()
	records, err := remote.Read(deadline(t), p)
	if err != nil || len(records) != 1 {
		t.Fatalf("%v is read as %v, %v", p, records, err)
	}
	return records[0].Value
}

// TestNodeLib is our device at a server of others.
func TestNodeLib(t *testing.T) {
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(probe.LocalAddr().String())
	probe.Close()
	server := startPeer(t, "server.js", port)
	server.hear(t, "listening")
	d := startDevice(t, "127.0.0.1:"+port, func(c *lwm2m.ClientConfig) { c.Version = "1.0" })
	executed := make(chan string, 10)
	d.hook(nil, func(_ context.Context, p lwm2m.Path, _ string) error {
		executed <- p.String()
		return nil
	})
	r := server.hear(t, "registered")
	if r.Endpoint != "device-1" || !strings.HasPrefix(r.Value, "60 1.0 ") || !strings.Contains(r.Value, "</3303/0>") {
		t.Errorf("registered %+v", r)
	}
	do := func(operation string, arguments ...string) string {
		line, _ := json.Marshal(map[string]any{"operation": operation, "endpoint": "device-1", "arguments": arguments})
		server.say(t, string(line))
		return server.hear(t, operation).Value
	}
	if got := do("read", "3303", "0", "5700"); got != "21.5" {
		t.Errorf("read %q", got)
	}
	if do("write", "26250", "0", strconv.Itoa(objects.ComponentWanted), "2.0.0"); d.component.Value(wanted).Text() != "2.0.0" {
		t.Errorf("written %v", d.component.Value(wanted))
	}
	if do("execute", "26250", "0", strconv.Itoa(objects.ComponentCheckNow), ""); <-executed != "/26250/0/9" {
		t.Error("something else was executed")
	}
	if got := do("discover", "3303", "0"); !strings.Contains(got, "</3303/0/5700>") {
		t.Errorf("discovered %q", got)
	}
	if got := do("read", "3303", "9", "5700"); !strings.Contains(got, "RESOURCE_NOT_FOUND") {
		t.Errorf("what is not there is read as %q", got)
	}
	if got := do("observe", "3303", "0", "5700"); got != "21.5" {
		t.Errorf("observed %q", got)
	}
	d.sensor.Reading(0, 23.5, "Cel", time.Now())
	d.Changed(reading)
	if n := server.hear(t, "notified"); n.Value != "23.5" {
		t.Errorf("notified %q", n.Value)
	}
	d.ObjectsChanged()
	server.hear(t, "updated")
	d.stop()
	server.hear(t, "deregistered")
}
