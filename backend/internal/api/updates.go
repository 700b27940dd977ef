package api

import (
	"net/http"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Goal is a version that a component shall have.
type Goal struct {
	Version string `json:"version"`
	Now     bool   `json:"now,omitempty"`   // do not wait for the maintenance window
	Again   bool   `json:"again,omitempty"` // try anew what has failed
}

func setVersion(a *API, r *http.Request, g Goal) (nothing, error) {
	return nothing{}, a.Fleet.Push(r.Context(), r.PathValue("id"), fleet.Push{Component: component(r), Version: g.Version, Now: g.Now, Again: g.Again})
}

func setTerms(a *API, r *http.Request, t fleet.Terms) (nothing, error) {
	return nothing{}, a.Fleet.Schedule(r.Context(), r.PathValue("id"), component(r), t)
}

func consent(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Fleet.Consent(r.Context(), r.PathValue("id"), component(r))
}

func cancel(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Fleet.Cancel(r.Context(), r.PathValue("id"), component(r))
}

func rollback(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Fleet.Rollback(r.Context(), r.PathValue("id"), component(r))
}

func repairDevice(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Fleet.Repair(r.Context(), r.PathValue("id"))
}

// Mending says how a component goes on.
type Mending struct {
	State string `json:"state"` // generation of a saved state, or "keep"
}

func mendComponent(a *API, r *http.Request, m Mending) (nothing, error) {
	return nothing{}, a.Fleet.Mend(r.Context(), r.PathValue("id"), component(r), m.State)
}

func removeComponent(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Fleet.Remove(r.Context(), r.PathValue("id"), component(r), r.FormValue("purge") == "true")
}

// NewPush asks several devices for a version.
type NewPush struct {
	fleet.Push
	Devices []string `json:"devices,omitempty"` // ids
	Query   string   `json:"query,omitempty"`   // or those that it is about
}

// PushResults tell what became of each device.
type PushResults struct {
	Results []fleet.Result `json:"results"`
}

func push(a *API, r *http.Request, p NewPush) (PushResults, error) {
	if (len(p.Devices) == 0) == (p.Query == "") {
		return PushResults{}, twin.ArgumentInvalid.With("give either devices or a query")
	}
	if p.Query != "" {
		found, err := a.Fleet.Find(r.Context(), p.Query)
		if err != nil {
			return PushResults{}, err
		}
		for _, d := range found {
			p.Devices = append(p.Devices, d.ID)
		}
	}
	return PushResults{a.Fleet.PushAll(r.Context(), p.Devices, p.Push)}, nil
}

// Offers are what there are packages of.
type Offers struct {
	Components []fleet.Offer `json:"components"`
}

func listPackages(a *API, _ *http.Request) (Offers, error) { return Offers{a.Fleet.Offers()}, nil }

// Alarms are what somebody has to see to, in words.
type Alarms struct {
	Alarms []string `json:"alarms"`
}

func listAlarms(a *API, _ *http.Request) (Alarms, error) { return Alarms{a.Fleet.Alarms()}, nil }

func showPackages(a *API, r *http.Request) (fleet.Offer, error) { return a.Fleet.Offer(component(r)) }

// uploadTime bounds an upload.
const uploadTime = time.Hour

// lasts lets a request take longer than usual.
func lasts(w http.ResponseWriter, d time.Duration) {
	control, until := http.NewResponseController(w), time.Now().Add(d)
	control.SetReadDeadline(until)
	control.SetWriteDeadline(until.Add(time.Minute))
}

var uploadPackage = operation{inMedia: "application/x-tar", out: shape[pack.Package](), serve: func(a *API, w http.ResponseWriter, r *http.Request) error {
	lasts(w, uploadTime)
	p, err := a.Fleet.Receive(r.Context(), r.Body)
	if err != nil {
		return err
	}
	return write(w, p)
}}

func withdrawPackage(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Fleet.Withdraw(r.Context(), component(r), r.PathValue("version"))
}
