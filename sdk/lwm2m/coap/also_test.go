package coap_test

import (
	"net"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// TestAlso: a device whose server is gone is taken by the other one that it knows, and
// when that is gone too, by the first again.
func TestAlso(t *testing.T) {
	t.Parallel()
	gone, err := net.ListenPacket("udp", "127.0.0.1:0") // nobody else gets its port meanwhile
	if err != nil {
		t.Fatal(err)
	}
	first := gone.LocalAddr().String()
	second := startServer(t, "127.0.0.1:0")
	d := startDevice(t, first, func(c *lwm2m.ClientConfig) {
		c.Also, c.Lifetime = []string{"coap://" + second.address}, time.Second
	})
	second.event(t, lwm2m.Registered)
	if s := d.Server(); s != "coap://"+second.address {
		t.Errorf("it says that it is with %s", s)
	}
	second.stop()
	gone.Close()
	startServer(t, first).event(t, lwm2m.Registered)
	if s := d.Server(); s != "coap://"+first {
		t.Errorf("it says that it is with %s", s)
	}
	d.stop() // while the server can hear it
}

func TestAlsoOfAnotherScheme(t *testing.T) {
	_, err := lwm2m.NewClient(lwm2m.ClientConfig{Endpoint: "a", Server: "coaps://a", Also: []string{"coap://b"}})
	if err == nil {
		t.Error("a device has one transport")
	}
}
