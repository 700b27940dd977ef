package bridge

import (
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// TestSleeper asks something of a device that sleeps: it waits in the twin, also
// over a restart of the bridge, and the device is told when it wakes by itself.
func TestSleeper(t *testing.T) {
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := system{service: iothub.NewClient(connection(t, h, hub.PolicyOwner))}
	create(t, s.service, endpoint)
	open := func(listen string) (*Bridge, func()) {
		b, err := New(Config{
			Hub: connection(t, h, hub.PolicyDevice), Listen: listen, Log: quiet, AckTimeout: ackTimeout, AwakeTime: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		return b, background(t, b.Serve)
	}
	b, stop := open("127.0.0.1:0")
	s.device, _ = startDeviceWith(t, "coap://"+b.Addr(), func(c *lwm2m.ClientConfig) { c.QueueMode = true })
	// wake has the device update its registration, as it does by itself once in a
	// while; again and again, since this machine may sleep longer than the device.
	wake := func(get func() []string) func() []string {
		return func() []string { s.client.ObjectsChanged(); return get() }
	}
	eventually(t, "a device that sleeps", func() any { s.client.ObjectsChanged(); return s.at(t, "sleeps")() }, is(true))
	asleep := func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		l := b.sessions[endpoint]
		if l == nil {
			return false
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.device != nil && !l.device.Awake()
	}
	yes := func(v bool) bool { return v }
	eventually(t, "the device sleeps", asleep, yes)
	s.desire(t, wish(map[string]any{"version": "2.0.0"}))
	if all := s.wishes(); len(all) != 0 && asleep() {
		t.Errorf("a device that sleeps was told %v", all)
	}
	eventually(t, "the wish that waited", wake(s.wishes), last("2.0.0"))

	eventually(t, "the device sleeps again", asleep, yes)
	s.desire(t, wish(map[string]any{"version": "3.0.0"}))
	stop()
	b, _ = open(b.Addr())
	eventually(t, "the wish that waited for bridge and device", wake(s.wishes), last("3.0.0"))
}
