package iothub

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers of a webhook, and the text before its secret (Standard Webhooks 1.0).
const (
	WebhookID        = "webhook-id" // of the event: the same if it comes again
	WebhookTimestamp = "webhook-timestamp"
	WebhookSignature = "webhook-signature"

	webhookSecret = "whsec_"
)

// WebhookTolerance is how far the clocks of hub and application may be apart.
const WebhookTolerance = 5 * time.Minute

// NewWebhookSecret writes a key as a secret that application and hub share.
func NewWebhookSecret(key []byte) string {
	return webhookSecret + base64.StdEncoding.EncodeToString(key)
}

// SignWebhook puts on a message what VerifyWebhook looks for.
func SignWebhook(header http.Header, secret, id string, body []byte, now time.Time) error {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signature, err := webhookMAC(secret, id, timestamp, body)
	if err != nil {
		return err
	}
	header.Set(WebhookID, id)
	header.Set(WebhookTimestamp, timestamp)
	header.Set(WebhookSignature, "v1,"+base64.StdEncoding.EncodeToString(signature))
	return nil
}

// VerifyWebhook tells whether a message comes from the hub that has made the secret, and not from long ago. The body is
// the Event as JSON; one that has come before has the same WebhookID.
func VerifyWebhook(header http.Header, secret string, body []byte, now time.Time) error {
	timestamp := header.Get(WebhookTimestamp)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return errors.New("cannot verify webhook: it has no timestamp")
	}
	if age := now.Sub(time.Unix(seconds, 0)); age.Abs() > WebhookTolerance {
		return fmt.Errorf("cannot verify webhook: it is %v old", age.Round(time.Second))
	}
	want, err := webhookMAC(secret, header.Get(WebhookID), timestamp, body)
	if err != nil {
		return err
	}
	for signature := range strings.FieldsSeq(header.Get(WebhookSignature)) {
		version, text, _ := strings.Cut(signature, ",")
		got, err := base64.StdEncoding.DecodeString(text)
		if err == nil && version == "v1" && hmac.Equal(got, want) {
			return nil
		}
	}
	return errors.New("cannot verify webhook: it is signed with another secret, or altered")
}

func webhookMAC(secret, id, timestamp string, body []byte) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, webhookSecret))
	if err != nil || len(key) == 0 {
		return nil, errors.New("the secret of a webhook must be base64, after whsec_")
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return mac.Sum(nil), nil
}
