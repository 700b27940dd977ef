package web

import (
	"context"
	"net/url"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/enrolment"
	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

// perPage is how many devices a list shows.
const perPage = 200

type deviceList struct {
	Query   string
	Devices []fleet.Device
	Total   int
	Counts  map[string]int
	States  []string
	Next    string // query of the next page
}

func (w *Web) listDevices(v *visit) error {
	query, after := v.FormValue("q"), v.FormValue("after")
	devices, err := w.Fleet.Find(v.Context(), query)
	if err != nil {
		return err
	}
	list := deviceList{Query: query, Total: len(devices), Counts: fleet.Counts(devices), States: []string{reported.Online, reported.Updating, reported.Malfunction, reported.Offline, fleet.New}}
	for len(devices) > 0 && devices[0].ID <= after {
		devices = devices[1:]
	}
	if list.Devices = devices; len(devices) > perPage {
		list.Devices = devices[:perPage]
		list.Next = url.Values{"q": {query}, "after": {devices[perPage-1].ID}}.Encode()
	}
	return v.show("devices", "Devices", list)
}

func (w *Web) createDevice(v *visit) error {
	id := strings.TrimSpace(v.PostFormValue("device"))
	if _, err := w.Fleet.Create(v.Context(), id, nil); err != nil {
		return err
	}
	return v.leave("/devices/"+url.PathEscape(id), "created")
}

type devicePage struct {
	fleet.Device
	History twin.History
	Offers  map[string][]string // versions that there are packages of, by component
	Others  []string            // components that it has not
	Keys    *fleet.Keys
	Invited *enrolment.Invited
}

func (w *Web) showDevice(v *visit) error { return w.devicePage(v, nil, nil) }

// devicePage shows a device, and secrets once: they are in no address and in no cache.
func (w *Web) devicePage(v *visit, keys *fleet.Keys, invited *enrolment.Invited) error {
	d, err := w.Fleet.Device(v.Context(), v.id())
	if err != nil {
		return err
	}
	history, err := w.Fleet.Devices.History(v.Context(), v.id())
	if err != nil {
		return err
	}
	page := devicePage{Device: d, History: history, Offers: map[string][]string{}, Keys: keys, Invited: invited}
	for _, o := range w.Fleet.Offers() {
		for _, p := range o.Packages {
			page.Offers[o.Component] = append(page.Offers[o.Component], p.Manifest.Version)
		}
		if !hasComponent(d, o.Component) {
			page.Others = append(page.Others, o.Component)
		}
	}
	return v.show("device", d.ID, page)
}

func hasComponent(d fleet.Device, name string) bool {
	for _, c := range d.Components {
		if c.Name == name {
			return true
		}
	}
	return false
}

func (w *Web) deleteDevice(v *visit) error {
	if v.PostFormValue("confirm") != v.id() {
		return twin.ArgumentInvalid.With("to delete %s, write its id into the field", v.id())
	}
	if err := w.Fleet.Delete(v.Context(), v.id()); err != nil {
		return err
	}
	return v.leave("/devices", "deleted")
}

func (w *Web) admitDevice(v *visit) error {
	if err := w.Fleet.Enable(v.Context(), v.id(), v.PostFormValue("enabled") == "true"); err != nil {
		return err
	}
	return v.leave(v.home(), "saved")
}

func (w *Web) showKeys(v *visit) error { return w.withKeys(v, w.Fleet.Keys) }
func (w *Web) newKeys(v *visit) error  { return w.withKeys(v, w.Fleet.NewKeys) }

// withKeys shows a device with its keys.
func (w *Web) withKeys(v *visit, get func(context.Context, string) (fleet.Keys, error)) error {
	keys, err := get(v.Context(), v.id())
	if err != nil {
		return err
	}
	return w.devicePage(v, &keys, nil)
}

// invite shows a device with an invitation for it.
func (w *Web) invite(v *visit) error {
	invited, err := w.Enrolment.Invite(v.Context(), v.id(), v.Host)
	if err != nil {
		return err
	}
	return w.devicePage(v, nil, &invited)
}

// simply is what a form does with a component without asking more.
func simply(do func(f *fleet.Fleet, ctx context.Context, id, component string) error, done string) func(*Web, *visit) error {
	return func(w *Web, v *visit) error {
		if err := do(w.Fleet, v.Context(), v.id(), v.component()); err != nil {
			return err
		}
		return v.leave(v.home(), done)
	}
}

func (w *Web) pushOne(v *visit) error {
	p := fleet.Push{Component: v.component(), Version: v.PostFormValue("version"), Now: v.PostFormValue("now") != "", Again: v.PostFormValue("again") != ""}
	if err := w.Fleet.Push(v.Context(), v.id(), p); err != nil {
		return err
	}
	return v.leave(v.home(), "pushed")
}

func (w *Web) setTerms(v *visit) error {
	check, window, consent := strings.TrimSpace(v.PostFormValue("check")), strings.TrimSpace(v.PostFormValue("window")), v.PostFormValue("consent") != ""
	if err := w.Fleet.Schedule(v.Context(), v.id(), v.component(), fleet.Terms{Check: &check, Window: &window, Consent: &consent}); err != nil {
		return err
	}
	return v.leave(v.home(), "scheduled")
}

func (w *Web) repairDevice(v *visit) error {
	if err := w.Fleet.Repair(v.Context(), v.id()); err != nil {
		return err
	}
	return v.leave(v.home(), "repair")
}

func (w *Web) mendComponent(v *visit) error {
	if err := w.Fleet.Mend(v.Context(), v.id(), v.component(), v.PostFormValue("state")); err != nil {
		return err
	}
	return v.leave(v.home(), "repair")
}

func (w *Web) removeComponent(v *visit) error {
	if err := w.Fleet.Remove(v.Context(), v.id(), v.component(), v.PostFormValue("purge") != ""); err != nil {
		return err
	}
	return v.leave(v.home(), "removed")
}

type pushPage struct {
	fleet.Push
	Query   string
	Offers  []fleet.Offer
	Devices []pushTarget
	Results []fleet.Result
}

// A pushTarget is a device that may be asked.
type pushTarget struct {
	ID, State, Version string
}

func (w *Web) askPush(v *visit) error {
	component, version, _ := strings.Cut(v.FormValue("package"), "@")
	page := pushPage{Push: fleet.Push{Component: component, Version: version}, Query: v.FormValue("q"), Offers: w.Fleet.Offers()}
	if component != "" {
		devices, err := w.Fleet.Find(v.Context(), page.Query)
		if err != nil {
			return err
		}
		for _, d := range devices {
			for _, c := range d.Components {
				if c.Name == component {
					page.Devices = append(page.Devices, pushTarget{d.ID, d.State, c.Version})
				}
			}
		}
	}
	return v.show("push", "Push an update", page)
}

func (w *Web) pushMany(v *visit) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	component, version, _ := strings.Cut(v.PostFormValue("package"), "@")
	p := fleet.Push{Component: component, Version: version, Now: v.PostFormValue("now") != "", Again: v.PostFormValue("again") != ""}
	devices := v.PostForm["device"]
	if len(devices) == 0 {
		return twin.ArgumentInvalid.With("choose devices")
	}
	return v.show("push", "Push an update", pushPage{Push: p, Offers: w.Fleet.Offers(), Results: w.Fleet.PushAll(v.Context(), devices, p)})
}
