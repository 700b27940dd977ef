package coap_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// TestGoCoapsDefects goes through the defects of go-coap 3.5.4 that the RATIONALE
// lists, and shows of each that it is not in this package. Those that need a
// transport of their own are here; the others have the tests named there.
func TestGoCoapsDefects(t *testing.T) {
	for name, proof := range map[string]func(*testing.T){
		"its connections, servers and block-wise engine are not in the path":   onlyCoders,
		"a lost block is never sent again":                                     everyBlockLostOnce,
		"a long transfer fails without a deadline":                             noDeadline,
		"who gets no answer waits for ever":                                    silentPeer,
		"a malformed datagram ends the peer's observations":                    malformedAmidst,
		"a request that asks for no acknowledgement gets a confirmable answer": nonConfirmable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proof(t)
		})
	}
}

func onlyCoders(t *testing.T) {
	out, err := exec.CommandContext(deadline(t), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("cannot list what this package is built from: %v", err)
	}
	allowed := []string{"message", "message/codes", "pkg/errors", "pkg/math", "pkg/rand", "tcp/coder", "udp/coder"}
	var coder bool
	for path := range strings.FieldsSeq(string(out)) {
		if part, ok := strings.CutPrefix(path, "github.com/plgd-dev/go-coap/v3/"); ok {
			coder = coder || part == "udp/coder"
			if !slices.Contains(allowed, part) {
				t.Errorf("go-coap's %s is in the path", part)
			}
		}
	}
	if !coder {
		t.Error("go-coap's coder is not there: this test looks in the wrong place")
	}
}

func everyBlockLostOnce(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	n := startNetwork(t, s.address, 1, weather{loseFirst: true})
	startDevice(t, n.address(), nil)
	remote := s.event(t, lwm2m.Registered).Device
	writeAndRead(t, remote, strings.Repeat("0123456789", 1000))
	if n.harm().lost < 40 { // ten blocks each way, and their answers
		t.Errorf("only %d datagrams were lost", n.harm().lost)
	}
}

// noDeadline reads 88 blocks over a network that needs 50 ms for each at least:
// go-coap ends after three seconds.
func noDeadline(t *testing.T) {
	s := startServerAt(t, "127.0.0.1:0", func(*lwm2m.ServerConfig) {}, patient())
	n := startNetwork(t, s.address, 1, weather{late: 1, longest: 50 * time.Millisecond})
	d := startDevice(t, n.address(), nil, patient())
	remote := s.event(t, lwm2m.Registered).Device
	long := strings.Repeat("0123456789", 9000)
	d.component.SetValue(0, objects.ComponentWanted, lwm2m.String(long))
	begun := time.Now()
	records, err := remote.Read(context.Background(), wanted)
	if err != nil || records[0].Value.Text() != long {
		t.Errorf("read %.40v, %v", records, err)
	}
	if took := time.Since(begun); took < 3*time.Second {
		t.Errorf("it took %v only", took)
	}
}

func silentPeer(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	peer := silent.LocalAddr().String()
	conn, err := coap.Dial("coap://"+peer, coap.WithTransmission(coap.Transmission{AckTimeout: 5 * time.Millisecond, MaxRetransmit: 2}))
	if err != nil {
		t.Fatal(err)
	}
	run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, deaf{}) })
	if _, err := conn.Exchange(context.Background(), peer, &lwm2m.Message{Code: lwm2m.Get}); !errors.Is(err, lwm2m.ErrTimeout) {
		t.Errorf("a silent peer: %v", err)
	}
}

// malformedAmidst sends noise from the device's address, in both directions, while
// the server observes.
func malformedAmidst(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	n := startNetwork(t, s.address, 1, weather{})
	d := startDevice(t, n.address(), nil)
	remote := s.event(t, lwm2m.Registered).Device
	var box inbox
	if _, err := remote.Observe(deadline(t), version, box.put); err != nil {
		t.Fatal(err)
	}
	for _, noise := range []string{"x", "\x4f\x01\x00\x01", "\x40\x01\x00\x02\xff\xff\xff", "\xff\xff\xff\xff"} {
		n.up.deliver([]byte(noise))
		n.down.deliver([]byte(noise))
	}
	d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("2.0.0"))
	if err := d.Deliver(deadline(t), version); err != nil {
		t.Fatal(err)
	}
	box.await(t, version, lwm2m.String("2.0.0"))
	if len(s.events) != 0 {
		t.Error("the device has registered anew")
	}
}

func nonConfirmable(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	conn, err := net.Dial("udp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x51\x02\x12\x34T\xb2rd\x44ep=a\x09lwm2m=1.1")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 200)
	size, err := conn.Read(b)
	if err != nil || !bytes.HasPrefix(b[:size], []byte{0x51, byte(lwm2m.CodeCreated)}) {
		t.Errorf("answered %x, %v; want a non-confirmable 2.01", b[:size], err)
	}
}
