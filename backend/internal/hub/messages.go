package hub

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// sendMessage puts a message into the queue of a device. Azure takes it over AMQP only; here it is the body, with headers
// named as in Azure's HTTP interface of devices: iothub-messageid, iothub-correlationid, iothub-userid, iothub-ack
// (positive, negative, full), iothub-expiry (RFC 3339) and iothub-app-{name}.
func (h *Hub) sendMessage(w http.ResponseWriter, r *http.Request, _ right) error {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	c, err := newCommand(identity(r), r.Header, payload, time.Now().UTC())
	if err != nil {
		return err
	}
	if err := h.Send(r.Context(), c); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, map[string]string{"messageId": c.MessageID})
}

// newCommand makes a message of a request's headers and body.
func newCommand(id string, header http.Header, payload []byte, now time.Time) (twin.Command, error) {
	c := twin.Command{Device: id, Enqueued: now, Expires: now.Add(twin.CommandLife), Payload: payload, Properties: map[string]string{}}
	total := len(payload)
	for name, values := range header {
		name, own := strings.CutPrefix(strings.ToLower(name), "iothub-")
		if !own {
			continue
		}
		value := values[0]
		total += len(name) + len(value)
		switch name {
		case "messageid":
			c.MessageID = value
		case "correlationid":
			c.Properties["$.cid"] = value
		case "userid":
			c.Properties["$.uid"] = value
		case "contenttype":
			c.Properties["$.ct"] = value
		case "contentencoding":
			c.Properties["$.ce"] = value
		case "ack":
			c.Ack = value
		case "expiry":
			expires, err := time.Parse(time.RFC3339, value)
			if err != nil || !expires.After(now) || expires.Sub(now) > twin.MaxLife {
				return c, twin.ArgumentInvalid.With("iothub-expiry must be a time within %v from now, as in %s", twin.MaxLife, now.Format(time.RFC3339))
			}
			c.Expires = expires
		default:
			property, ok := strings.CutPrefix(name, "app-")
			if !ok || property == "" {
				return c, twin.ArgumentInvalid.With("there is no header iothub-%s", name)
			}
			c.Properties[property] = value
		}
	}
	if c.MessageID == "" {
		c.MessageID = newKey()[:22]
	}
	switch c.Ack {
	case "", "none", twin.WantsPositive, twin.WantsNegative, twin.WantsAll:
	default:
		return c, twin.ArgumentInvalid.With("iothub-ack must be none, positive, negative or full")
	}
	if total > twin.MaxCommand {
		return c, twin.TooLarge.With("message and properties have %d bytes, %d are allowed", total, twin.MaxCommand)
	}
	return c, nil
}

// purgeMessages empties a device's queue.
func (h *Hub) purgeMessages(w http.ResponseWriter, r *http.Request, _ right) error {
	id := identity(r)
	if _, err := h.store.Device(r.Context(), id); err != nil {
		return err
	}
	purged, err := h.purge(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"totalMessagesPurged": purged, "deviceId": id, "moduleId": nil})
}

// maxFeedback is how many ends of messages one answer has.
const maxFeedback = 64

// readFeedback answers how messages have ended whose sender wanted to know. They come again after a minute, unless they
// are completed by the lock token in the ETag.
func (h *Hub) readFeedback(w http.ResponseWriter, r *http.Request, _ right) error {
	ends, token, err := h.store.Feedback(r.Context(), maxFeedback)
	if err != nil {
		return err
	}
	if len(ends) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("ETag", `"`+token+`"`)
	return writeJSON(w, http.StatusOK, ends)
}

func (h *Hub) completeFeedback(w http.ResponseWriter, r *http.Request, _ right) error {
	return h.confirm(w, r, false)
}

func (h *Hub) abandonFeedback(w http.ResponseWriter, r *http.Request, _ right) error {
	return h.confirm(w, r, true)
}

func (h *Hub) confirm(w http.ResponseWriter, r *http.Request, again bool) error {
	if err := h.store.Confirm(r.Context(), strings.Trim(r.PathValue("token"), `"`), again); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
