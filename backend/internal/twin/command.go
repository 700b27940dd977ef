package twin

import "time"

// Limits of messages to devices: IoT Hub's.
const (
	MaxCommand    = 64 << 10 // bytes of a message
	MaxQueue      = 50       // messages that wait for one device
	MaxDeliveries = 10       // of one message that is not acknowledged
	CommandLife   = time.Hour
	MaxLife       = 48 * time.Hour
)

// Command is a message to a device, which waits in a queue until the device has acknowledged it.
type Command struct {
	Sequence   uint64            `json:"-"` // position among all commands, set by the queue
	Device     string            `json:"device"`
	MessageID  string            `json:"messageId,omitempty"`
	Enqueued   time.Time         `json:"enqueued"`
	Expires    time.Time         `json:"expires"`
	Ack        string            `json:"ack,omitempty"`        // which ends are told: positive, negative, full; "" none
	Properties map[string]string `json:"properties,omitempty"` // those of the system begin with "$."
	Payload    []byte            `json:"payload,omitempty"`
}

// Ends of a Command, as Azure names them.
const (
	Success       = "Success"
	Expired       = "Expired"
	TooOften      = "DeliveryCountExceeded"
	Purged        = "Purged"
	WantsPositive = "positive"
	WantsNegative = "negative"
	WantsAll      = "full"
)

// Wants tells whether whoever sent c wants to hear of its end.
func (c Command) Wants(end string) bool {
	switch c.Ack {
	case WantsAll:
		return true
	case WantsPositive:
		return end == Success
	case WantsNegative:
		return end != Success
	}
	return false
}

// Feedback tells how a Command has ended, in Azure's form.
type Feedback struct {
	MessageID  string    `json:"originalMessageId"`
	Device     string    `json:"deviceId"`
	Generation string    `json:"deviceGenerationId"`
	Time       time.Time `json:"enqueuedTimeUtc"`
	Status     string    `json:"statusCode"`
	Text       string    `json:"description"`
}
