package api

import (
	"net/http"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
)

// Policies of the hub, by what they may: what people ask of its REST interface is asked by one of these.
const (
	policyService  = "service"      // twins, queries, methods, events
	policyRegistry = "registryRead" // devices, without their keys
	policyOwner    = "iothubowner"  // everything
)

// asHub answers as the hub's REST interface does, to people: with their rights, and their names in the audit log.
var asHub = operation{outMedia: "application/json", serve: func(a *API, w http.ResponseWriter, r *http.Request) error {
	path := "/" + r.PathValue("path")
	policy := policyOwner
	switch reads := r.Method == http.MethodGet || path == "/devices/query"; {
	case !reads:
	case strings.HasPrefix(path, "/messages/"): // who reads one keeps it from others for a while
		if err := accounts.Of(r.Context()).May(accounts.Operate); err != nil {
			return err
		}
		policy = policyService
	case strings.HasPrefix(path, "/configurations"), path == "/statistics/devices":
		policy = policyRegistry
	case !strings.HasPrefix(path, "/devices") || path == "/devices/query":
		policy = policyService
	case !a.mayHaveKeys(r, path):
		policy = policyRegistry
	}
	if path == "/api/v1/events" {
		return a.follow(w, r, http.StripPrefix(Base+"/hub", a.Hub(policy)))
	}
	lasts(w, maxCall)
	r, done := a.whileAllowed(r, accounts.Read)
	defer done()
	if policy != policyOwner || r.Method != http.MethodGet {
		http.StripPrefix(Base+"/hub", a.Hub(policy)).ServeHTTP(w, r)
		return nil
	}
	return a.Audit.Change(r.Context(), "device.keys.read", strings.TrimPrefix(path, "/devices/"), nil, func() error {
		http.StripPrefix(Base+"/hub", a.Hub(policy)).ServeHTTP(w, r)
		return nil
	})
}}

// mayHaveKeys tells whether one device is asked for, by who may see its keys.
func (a *API) mayHaveKeys(r *http.Request, path string) bool {
	return accounts.Of(r.Context()).May(accounts.Operate) == nil && strings.Trim(path, "/") != "devices"
}
