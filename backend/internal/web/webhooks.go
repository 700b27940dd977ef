package web

import (
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/backend/internal/webhook"
)

type webhooksPage struct {
	Hooks  []hook
	Types  []string // that one can choose
	Secret string   // of a hook that was just made
}

type hook struct {
	webhook.Hook
	Dead []webhook.DeadLetter
}

func (w *Web) listWebhooks(v *visit) error { return w.webhooksPage(v, "") }

func (w *Web) webhooksPage(v *visit, secret string) error {
	hooks, err := w.Webhooks.List(v.Context())
	if err != nil {
		return err
	}
	page := webhooksPage{Secret: secret, Types: twin.EventTypes}
	for _, h := range hooks {
		letters, err := w.Webhooks.DeadLetters(v.Context(), h.ID)
		if err != nil {
			return err
		}
		page.Hooks = append(page.Hooks, hook{h, letters})
	}
	return v.show("webhooks", "Webhooks", page)
}

func (w *Web) createWebhook(v *visit) error {
	if err := v.ParseForm(); err != nil {
		return twin.Malformed.With("%v", err)
	}
	_, secret, err := w.Webhooks.Add(v.Context(), strings.TrimSpace(v.PostFormValue("url")), v.PostForm["type"], strings.TrimSpace(v.PostFormValue("device")))
	if err != nil {
		return err
	}
	return w.webhooksPage(v, secret)
}

func (w *Web) deleteWebhook(v *visit) error {
	if err := w.Webhooks.Remove(v.Context(), v.PathValue("hook")); err != nil {
		return err
	}
	return v.leave("/webhooks", "deleted")
}

func (w *Web) resendDeadLetter(v *visit) error {
	if err := w.Webhooks.Resend(v.Context(), v.PathValue("hook"), v.PathValue("event")); err != nil {
		return err
	}
	return v.leave("/webhooks", "sent")
}
