package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// publish handles a message of the device. PUBACK means that it is durable; a message that cannot be accepted ends the
// connection.
func (s *session) publish(ctx context.Context, p *packets.PublishPacket) error {
	if p.Qos > 1 {
		return fmt.Errorf("%w: QoS 2 is not offered", errViolation)
	}
	if len(p.Payload) > maxMessage {
		return errTooLarge
	}
	r, err := parseTopic(s.name, p.TopicName)
	if err != nil {
		return err
	}
	switch r.operation {
	case opTelemetry:
		err = s.telemetry(ctx, r, p.Payload, p.Retain)
	case opTwinGet:
		err = s.getTwin(ctx, r)
	case opReported:
		err = s.patchReported(ctx, r, p.Payload)
	case opMethodAnswer:
		s.answered(r, p.Payload)
	}
	if err != nil || p.Qos == 0 {
		return err
	}
	answer := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	answer.MessageID = p.MessageID
	return s.reply(ctx, answer)
}

func (s *session) telemetry(ctx context.Context, r request, payload []byte, retain bool) error {
	now := time.Now().UTC()
	body := iothub.Telemetry{Properties: map[string]string{}, SystemProperties: map[string]string{
		"iothub-connection-device-id":          s.name.device,
		"iothub-connection-auth-method":        s.proof.method,
		"iothub-connection-auth-generation-id": s.generation,
		"iothub-enqueuedtime":                  now.Format(time.RFC3339Nano),
	}, Payload: payload}
	if s.name.module != "" {
		body.SystemProperties["iothub-connection-module-id"] = s.name.module
	}
	for name, value := range r.properties {
		if system, ok := systemProperties[name]; ok {
			body.SystemProperties[system] = value
		} else {
			body.Properties[name] = value
		}
	}
	if retain {
		body.Properties["mqtt-retain"] = "true"
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return s.hub.store.Append(ctx, twin.Event{Type: twin.Telemetry, Device: s.id, Time: now, Body: text, Once: body.Properties[iothub.PropertyOnce]})
}

// systemProperties are what a property bag may say to the hub, and how it hands that on.
var systemProperties = map[string]string{
	"$.mid":    "message-id",
	"$.cid":    "correlation-id",
	"$.uid":    "user-id",
	"$.to":     "to",
	"$.ct":     "content-type",
	"$.ce":     "content-encoding",
	"$.exp":    "absolute-expiry-time",
	"$.ctime":  "iothub-creation-time-utc",
	"$.schema": "iothub-message-schema",
	"$.on":     "iothub-output-name",
	"$.sub":    "dt-subject",
	"$.ifid":   "iothub-interface-id",
}

// sendWill is what the device wanted said if its connection breaks.
func (s *session) sendWill(ctx context.Context) {
	s.will.properties["iothub-MessageType"] = "Will"
	if err := s.telemetry(ctx, s.will, s.connect.WillMessage, s.connect.WillRetain); err != nil {
		s.log.Error("cannot append will", "error", err)
	}
}

func (s *session) getTwin(ctx context.Context, r request) error {
	d, err := s.hub.store.Device(ctx, s.id)
	if err != nil {
		return s.answerError(ctx, r, err)
	}
	body, err := json.Marshal(map[string]any{
		"desired":  withVersion(d.Twin.Desired),
		"reported": withVersion(d.Twin.Reported),
	})
	if err != nil {
		return err
	}
	return s.answer(ctx, 200, r.rid, body)
}

func (s *session) patchReported(ctx context.Context, r request, payload []byte) error {
	patch, err := twin.Decode(payload)
	if err != nil {
		return s.answerError(ctx, r, err)
	}
	d, err := s.hub.patchTwin(ctx, s.id, func(d twin.Device) (twin.Patch, error) {
		if r.base != 0 && r.base != d.Twin.Reported.Version {
			return twin.Patch{}, twin.PreconditionFailed
		}
		return twin.Patch{Reported: patch}, nil
	})
	if err != nil {
		return s.answerError(ctx, r, err)
	}
	return s.answer(ctx, 204, fmt.Sprintf("%s&$version=%d", r.rid, d.Twin.Reported.Version), nil)
}

// answerError tells the device what was wrong: SDKs look at errorCode, not at the status in the topic.
func (s *session) answerError(ctx context.Context, r request, cause error) error {
	refusal := s.hub.refusal(cause)
	s.log.Warn("twin request is refused", "cause", cause)
	body, err := json.Marshal(map[string]any{
		"errorCode": refusal.Code, "message": refusal.Message, "timestampUtc": time.Now().UTC(),
	})
	if err != nil {
		return err
	}
	return s.answer(ctx, refusal.Code/1000, r.rid, body)
}

func (s *session) answer(ctx context.Context, status int, rid string, body []byte) error {
	if !s.subscribed(subTwinResponses) {
		return nil
	}
	topic := strings.TrimSuffix(iothub.TopicTwinResponses, "#")
	return s.reply(ctx, message(fmt.Sprintf("%s%d/?$rid=%s", topic, status, rid), body))
}

// tellDesired sends the desired half of a twin's change, if it has one.
func (s *session) tellDesired(change json.RawMessage) {
	if !s.subscribed(subDesired) {
		return
	}
	var body struct {
		Properties struct{ Desired json.RawMessage }
	}
	var version struct {
		Version int64 `json:"$version"`
	}
	err := json.Unmarshal(change, &body)
	if err == nil && body.Properties.Desired == nil {
		return
	}
	if err := errors.Join(err, json.Unmarshal(body.Properties.Desired, &version)); err != nil {
		s.log.Error("cannot tell desired properties", "error", err)
		return
	}
	topic := strings.TrimSuffix(iothub.TopicDesired, "#")
	s.push(message(fmt.Sprintf("%s?$version=%d", topic, version.Version), body.Properties.Desired))
}

func message(topic string, body []byte) *packets.PublishPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = topic, body
	return p
}
