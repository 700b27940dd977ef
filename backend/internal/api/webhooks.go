package api

import (
	"net/http"

	"github.com/tranquil-iot/tranquil/backend/internal/webhook"
)

// Webhooks are servers that are told what happens.
type Webhooks struct {
	Webhooks []webhook.Hook `json:"webhooks"`
}

func listWebhooks(a *API, r *http.Request) (Webhooks, error) {
	hooks, err := a.Webhooks.List(r.Context())
	return Webhooks{hooks}, err
}

// NewWebhook is a server to be told.
type NewWebhook struct {
	URL    string   `json:"url"`              // https, or http on this machine
	Types  []string `json:"types,omitempty"`  // "twinChanged", "deviceConnected", …; none: all
	Device string   `json:"device,omitempty"` // of one device only
}

// WebhookSecret is a webhook, whose secret is shown once.
type WebhookSecret struct {
	webhook.Hook
	Secret string `json:"secret"` // whsec_…, of Standard Webhooks
}

func createWebhook(a *API, r *http.Request, in NewWebhook) (WebhookSecret, error) {
	hook, secret, err := a.Webhooks.Add(r.Context(), in.URL, in.Types, in.Device)
	return WebhookSecret{hook, secret}, err
}

func deleteWebhook(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Webhooks.Remove(r.Context(), r.PathValue("hook"))
}

// DeadLetters are what a server has not taken.
type DeadLetters struct {
	DeadLetters []webhook.DeadLetter `json:"deadLetters"`
}

func listDeadLetters(a *API, r *http.Request) (DeadLetters, error) {
	letters, err := a.Webhooks.DeadLetters(r.Context(), r.PathValue("hook"))
	return DeadLetters{letters}, err
}

func resendDeadLetter(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Webhooks.Resend(r.Context(), r.PathValue("hook"), r.PathValue("event"))
}
