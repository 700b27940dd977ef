package iothub

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
