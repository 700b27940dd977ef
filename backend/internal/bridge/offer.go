package bridge

import (
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// An IoT hub lets a direct method through only to who has subscribed to methods;
// for anybody else it waits as long as the caller says, and then answers that the
// device is not online. So a link subscribes while its device can be asked.

// An invocation is a direct method that the hub has let through.
type invocation struct {
	name, id string
	payload  []byte
}

// parseInvocation reads `$iothub/methods/POST/{name}/?$rid={rid}`.
func parseInvocation(topic string) (call invocation, ok bool) {
	rest, ok := strings.CutPrefix(topic, strings.TrimSuffix(iothub.TopicMethods, "#"))
	if !ok {
		return call, false
	}
	call.name, rest, _ = strings.Cut(rest, "/")
	call.id, ok = strings.CutPrefix(rest, "?$rid=")
	return call, ok && call.name != "" && call.id != ""
}

// offer has the hub let methods through, or not.
func (l *twinLink) offer(yes bool) {
	l.mu.Lock()
	changed := l.offered != yes
	l.offered = yes
	l.mu.Unlock()
	if changed {
		l.tellOffer()
	}
}

// tellOffer has the hub know what is offered. What it is not told, since the
// connection is lost, it is told on the next one.
func (l *twinLink) tellOffer() {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	ready, offered := isClosed(l.ready), l.offered
	l.mu.Unlock()
	switch {
	case !ready || offered == l.told:
		return
	case offered:
		l.client.Subscribe(iothub.TopicMethods, 0, nil)
	default:
		l.client.Unsubscribe(iothub.TopicMethods)
	}
	l.told = offered
}

// respond answers a direct method. If the connection is lost, so is the answer, and
// the hub tells the caller.
func (l *twinLink) respond(id string, status int, body []byte) {
	l.client.Publish(iothub.TopicMethodResponses+strconv.Itoa(status)+"/?$rid="+id, 0, false, body)
}
