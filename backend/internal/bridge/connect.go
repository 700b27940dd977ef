package bridge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// Times of a twin connection.
const (
	tokenLife      = time.Hour
	keepAlive      = 3 * time.Minute
	requestTimeout = 20 * time.Second

	firstPause   = time.Second // before the hub is tried again, then twice as long
	maxPause     = 30 * time.Second
	unknownPause = 10 * time.Second // by a device that is probably not in the registry
)

// errDown says that the connection is being made again.
var errDown = errors.New("no connection to the hub")

// dial begins to connect, and goes on until close. Without security the hub needs a certificate that this machine trusts.
func dial(hub iothub.ConnectionString, security *tls.Config, device string, on callbacks, log *slog.Logger) *twinLink {
	l := &twinLink{device: device, log: log, callbacks: on, closed: make(chan struct{}), ready: make(chan struct{}), waiting: map[string]chan answer{}}
	o := mqtt.NewClientOptions().AddBroker(hub.MQTTURL()).SetClientID(device).
		SetProtocolVersion(4).SetCleanSession(true).SetKeepAlive(keepAlive).SetAutoReconnect(false).
		SetTLSConfig(cmp.Or(security, &tls.Config{MinVersion: tls.VersionTLS12})).SetOrderMatters(true)
	o.SetCredentialsProvider(func() (string, string) {
		token, err := hub.DeviceToken(time.Now().Add(tokenLife))
		if err != nil {
			log.Error("cannot sign token", "error", err) // the key was checked when it was read
		}
		return iothub.Username(hub.HostName, device), token
	})
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { l.receive(m) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		log.Warn("hub connection lost", "error", err)
		l.abandon()
		l.connect(l.lost())
	})
	l.client = mqtt.NewClient(o)
	go l.connect(0)
	return l
}

// connect tries until the connection stands, the first time after a pause.
func (l *twinLink) connect(pause time.Duration) {
	for next := firstPause; l.rests(pause); next = min(2*next, maxPause) {
		t := l.client.Connect()
		<-t.Done()
		if isClosed(l.closed) {
			l.client.Disconnect(0)
			return
		}
		if t.Error() == nil {
			l.subscribe()
			return
		}
		l.failed(t.Error())
		pause = next/2 + rand.N(next)
		if errors.Is(t.Error(), packets.ErrorRefusedNotAuthorised) {
			l.refused()
			pause = unknownPause
		}
	}
}

// rests waits, and reports false if the link is closed.
func (l *twinLink) rests(pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return !isClosed(l.closed)
	case <-l.closed:
		return false
	}
}

// failed says, once for each reason, why there is no connection. It is tried
// again for ever: a device may be registered after its agent has started.
func (l *twinLink) failed(err error) {
	l.mu.Lock()
	old := l.reason
	l.reason = err.Error()
	l.mu.Unlock()
	if old == err.Error() {
		return
	}
	hint := "is the hub there?"
	if _, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		hint = "whoever answers has a certificate that this machine does not trust: name the file of the hub's authority, as SSL_CERT_FILE=ca.pem"
	}
	if errors.Is(err, packets.ErrorRefusedNotAuthorised) {
		hint = "register the device, it is let in within half a minute then: tranquil device create " + l.device
	}
	l.log.Warn("the hub does not take the device, trying again", "error", err, "hint", hint)
}

func (l *twinLink) close() {
	close(l.closed)
	l.client.Disconnect(250)
}

// subscribe goes on until it has succeeded or the connection is lost.
func (l *twinLink) subscribe() {
	l.telling.Lock()
	l.told = false
	l.telling.Unlock()
	for ; l.client.IsConnectionOpen(); l.rests(time.Second) {
		t := l.client.SubscribeMultiple(map[string]byte{iothub.TopicTwinResponses: 0, iothub.TopicDesired: 0}, nil)
		if !t.WaitTimeout(requestTimeout) || t.Error() != nil {
			l.log.Warn("cannot subscribe to the twin", "error", t.Error())
			continue
		}
		l.mu.Lock()
		if !isClosed(l.ready) {
			close(l.ready)
		}
		l.mu.Unlock()
		l.tellOffer()
		l.up()
		return
	}
}

// standing is closed when the connection stands.
func (l *twinLink) standing() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready
}

// stands tells whether something can be asked of the hub now.
func (l *twinLink) stands() bool { return isClosed(l.standing()) && l.client.IsConnectionOpen() }

// await waits until the connection stands.
func (l *twinLink) await(ctx context.Context) error {
	select {
	case <-l.standing():
		return nil
	case <-ctx.Done():
		return errDown
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
