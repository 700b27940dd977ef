package api

import (
	"net/http"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/enrolment"
	"github.com/tranquil-iot/tranquil/sdk/enrol"
)

func invite(a *API, r *http.Request) (enrolment.Invited, error) {
	return a.Enrolment.Invite(r.Context(), r.PathValue("id"), r.Host)
}

func enrolDevice(a *API, r *http.Request, in enrol.Request) (enrol.Grant, error) {
	ctx := audit.By(r.Context(), audit.Actor{Who: "invitation", From: accounts.RemoteHost(r)})
	return a.Enrolment.Take(ctx, in)
}
