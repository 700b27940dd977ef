package hub

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// subscriptions are the topic filters a device can have, as bits: they are all there is.
type subscriptions uint32

const (
	subTwinResponses subscriptions = 1 << iota
	subDesired
	subMethods
	subCommands
	subCommandsOnce // with subCommands: at QoS 0
)

// subscription answers the bit of a filter, 0 if there is no such filter for this device or module.
func subscription(name username, filter string) subscriptions {
	switch filter {
	case iothub.TopicTwinResponses:
		return subTwinResponses
	case iothub.TopicDesired:
		return subDesired
	case iothub.TopicMethods:
		return subMethods
	case name.topic() + "/messages/devicebound/#":
		return subCommands
	}
	return 0
}

// topic is what the topics of messages begin with.
func (u username) topic() string { return strings.TrimPrefix(u.resource(), "/") }

// operation is what a device asks for by publishing.
type operation int

const (
	opTelemetry operation = iota
	opTwinGet
	opReported
	opMethodAnswer
)

// request is a topic taken apart.
type request struct {
	operation  operation
	rid        string            // twin requests: as sent, goes into the answer; opMethodAnswer: of the call
	status     int               // opMethodAnswer: the device's own
	base       int64             // opReported: only if reported has this $version; 0: always
	properties map[string]string // opTelemetry: the property bag
}

var errTopic = errors.New("unknown topic")

const (
	topicTwinGet  = "$iothub/twin/GET/"
	topicReported = "$iothub/twin/PATCH/properties/reported/"
)

// parseTopic says what publishing to topic asks for; an error ends the connection, as MQTT 3.1.1 has no other answer.
func parseTopic(name username, topic string) (request, error) {
	if strings.ContainsAny(topic, "+#\x00") && !strings.HasPrefix(topic, name.topic()+"/") {
		return request{}, errTopic
	}
	if query, ok := strings.CutPrefix(topic, topicTwinGet); ok {
		return parseTwinRequest(opTwinGet, query)
	}
	if query, ok := strings.CutPrefix(topic, topicReported); ok {
		return parseTwinRequest(opReported, query)
	}
	if rest, ok := strings.CutPrefix(topic, iothub.TopicMethodResponses); ok {
		return parseMethodAnswer(rest)
	}
	bag, ok := strings.CutPrefix(topic, name.topic()+"/messages/events")
	if !ok || bag != "" && bag[0] != '/' {
		return request{}, errTopic
	}
	bag = strings.TrimSuffix(strings.TrimPrefix(bag, "/"), "/")
	if strings.ContainsAny(bag, "/+#\x00") {
		return request{}, errTopic
	}
	return request{operation: opTelemetry, properties: parseBag(bag)}, nil
}

func parseTwinRequest(op operation, query string) (request, error) {
	query, ok := strings.CutPrefix(query, "?")
	if !ok {
		return request{}, errTopic
	}
	r := request{operation: op}
	for field := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "$rid":
			r.rid = value
		case "$version":
			base, err := strconv.ParseInt(value, 10, 64)
			if err != nil || base < 1 {
				return request{}, errTopic
			}
			r.base = base
		}
	}
	if r.rid == "" {
		return request{}, errTopic
	}
	return r, nil
}

// parseMethodAnswer reads `{status}/?$rid={rid}`.
func parseMethodAnswer(text string) (request, error) {
	code, query, ok := strings.Cut(text, "/")
	status, err := strconv.Atoi(code)
	if !ok || err != nil {
		return request{}, errTopic
	}
	r, err := parseTwinRequest(opMethodAnswer, query)
	r.status = status
	return r, err
}

// parseBag reads `k=v&k=v`, url-encoded; what is encoded badly stays as it is.
func parseBag(bag string) map[string]string {
	properties := map[string]string{}
	if bag == "" {
		return properties
	}
	for field := range strings.SplitSeq(strings.TrimPrefix(bag, "?"), "&") {
		name, value, _ := strings.Cut(field, "=")
		if name != "" {
			properties[decoded(name)] = decoded(value)
		}
	}
	return properties
}

func decoded(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}
