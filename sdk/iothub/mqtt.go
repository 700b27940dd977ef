package iothub

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Topics of a device's MQTT connection (3.1.1). Those that end in "#" are filters to subscribe to, at QoS 0 or 1.
// The client id is the device id.
const (
	// TopicTwinGet asks for the twin: append the request id. The answer comes on TopicTwinResponses.
	TopicTwinGet = "$iothub/twin/GET/?$rid="
	// TopicReported patches the reported properties: append the request id.
	TopicReported = "$iothub/twin/PATCH/properties/reported/?$rid="
	// TopicTwinResponses carries `$iothub/twin/res/{status}/?$rid={rid}[&$version={n}]`.
	TopicTwinResponses = "$iothub/twin/res/#"
	// TopicDesired carries changes of the desired properties: `…/desired/?$version={n}`.
	TopicDesired = "$iothub/twin/PATCH/properties/desired/#"
	// TopicMethods carries direct methods: `$iothub/methods/POST/{name}/?$rid={rid}`.
	TopicMethods = "$iothub/methods/POST/#"
	// TopicMethodResponses is where the device answers a direct method: append `{status}/?$rid={rid}`.
	TopicMethodResponses = "$iothub/methods/res/"
)

// EventsUsername is the MQTT user name of an application that wants to be told what happens: `events`, or
// `events?after=ID` to go on after an event. The password is a token of a policy that may do that (ServiceToken), or of
// the operator's API. Such connections are not in Azure's contract.
const EventsUsername = "events"

// EventTopic is where events of a type are told: `events/{device}/{type}`, or `events/{device}/modules/{module}/{type}`.
// The payload is an Event. In ids `%`, `+` and `#` are `%25`, `%2B` and `%23`. With "+" for a device or a type it is a
// filter.
func EventTopic(device, module, kind string) string {
	topic := "events/" + level(device)
	if module != "" {
		topic += "/modules/" + level(module)
	}
	return topic + "/" + level(kind)
}

func level(text string) string {
	if text == "+" {
		return text
	}
	return strings.NewReplacer("%", "%25", "+", "%2B", "#", "%23").Replace(text)
}

// TopicTelemetry is where a device publishes messages, with an optional property bag appended (`k=v&k=v`, url-encoded).
func TopicTelemetry(device string) string { return "devices/" + device + "/messages/events/" }

// TopicCommands is the filter for messages from the cloud to the device.
func TopicCommands(device string) string { return "devices/" + device + "/messages/devicebound/#" }

// apiVersion is the newest stable version of Azure's interface.
const apiVersion = "2021-04-12"

// Username is the MQTT user name of a device, or of a module as `{device}/{module}`; the password is a token.
func Username(host, device string) string {
	return host + "/" + device + "/?api-version=" + apiVersion
}

// PropertyBag is what follows a topic of messages: `k=v&k=v`, url-encoded, in the order of names. System properties
// have names such as "$.ct", the content type.
func PropertyBag(properties map[string]string) string {
	var bag []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		bag = append(bag, encoded(name)+"="+encoded(properties[name]))
	}
	return strings.Join(bag, "&")
}

// encoded has %20 for a space: not everybody decodes a plus.
func encoded(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// PropertyOnce names a message: a hub of Tranquil keeps one of several with the same name of one device, if they come
// within some minutes. Others may tell them to applications again, which can compare names then.
const PropertyOnce = "tranquil-once"
